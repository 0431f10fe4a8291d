"""Freed memory comes back without page faults."""

import os
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
assert host_memory.keep_freed_memory() == (sys.argv[1] == "1")
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
  def faults(keep):
    return int(subprocess.run(
        [sys.executable, "-c", SCRIPT, keep], check=True, capture_output=True,
        text=True, env=os.environ | {"LLM_JAX_KEEP_FREED": keep}).stdout)
  assert faults("1") < 1000 < faults("0")
