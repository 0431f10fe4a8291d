"""Keeping freed memory, so that a step on CPU need not fault it in again.

XLA:CPU takes all temporaries of a step as one block of the C library's heap
and gives it back when the step ends. glibc hands so large a block back to the
kernel, which zeroes it anew, page by page, at the next step: a fifth of the
processor time of a small model's step went there (docs/LOG.md).

The price is memory: an aligned block leaves slivers at its ends that small
objects take, so that the same block does not fit there again, and several
blocks are resident in the end: peaks of over four times the temporaries were
seen (3,376 MB at 755 MB of them). LLM_JAX_KEEP_FREED=0 in the environment
leaves glibc as it is.
"""

from __future__ import annotations

import ctypes
import os

# <malloc.h>; these numbers are glibc's ABI.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_NEVER = 2**31 - 1
# Above this many cores one heap's lock would be in the way of many threads,
# and the steps run on an accelerator anyway.
_MOST_CORES = 16


def keep_freed_memory() -> bool:
  """Tells glibc to keep what is freed; the process never gets smaller.

  Threads other than the main one have heaps of 64 MB at most, hence the single
  heap. To be called before JAX starts its threads.

  Returns:
    Whether it was done: not on large hosts, nor with another C library, nor
      where the environment has LLM_JAX_KEEP_FREED=0.
  """
  if ((os.cpu_count() or 1) > _MOST_CORES
      or os.environ.get("LLM_JAX_KEEP_FREED") == "0"):
    return False
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return False
  return all([mallopt(_M_ARENA_MAX, 1), mallopt(_M_MMAP_THRESHOLD, _NEVER),
              mallopt(_M_TRIM_THRESHOLD, _NEVER)])
