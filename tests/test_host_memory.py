"""Freed memory comes back without page faults."""

import platform
import subprocess
import sys

import pytest

# Steps of 64 MB of temporaries; page faults of one step, after a warm-up. The
# allocation is made in a thread, as XLA's are.
SCRIPT = """
import ctypes, resource, sys, threading
from llm_jax import host_memory
host_memory._MOST_CORES = 1 << 20
if sys.argv[1] == "keep":
  assert host_memory.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.malloc.argtypes = [ctypes.c_size_t]
def step():
  block = libc.malloc(64 << 20)
  ctypes.memset(block, 1, 64 << 20)
  libc.free(block)
def steps():
  step()
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  step()
  print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=steps)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's mallopt")
def test_a_second_step_faults_no_pages():
  def faults(mode):
    return int(subprocess.run([sys.executable, "-c", SCRIPT, mode], check=True,
                              capture_output=True, text=True).stdout)
  assert faults("keep") < 1000 < faults("default")
