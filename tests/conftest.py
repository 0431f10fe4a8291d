"""Eight fake devices and strict broadcasting, before JAX is imported.

XLA is told to compile with little optimisation: the suite takes half as long.
"""

import gc
import os

import pytest

from tests.fake_devices import xla_flags

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {xla_flags(8)}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# A quarter of what Linux gives a process, vm.max_map_count.
_MEMORY_MAPS = 1 << 14


@pytest.fixture(scope="module", autouse=True)
def programs_are_let_go():
  """Forgets compiled programs after a file, where there are very many.

  XLA's programs for a CPU hold some memory maps each; those of the whole suite
  are more than Linux allows, and a process that asks for one more is ended.
  """
  yield
  if _memory_maps() > _MEMORY_MAPS:
    jax.clear_caches()
    gc.collect()


def _memory_maps() -> int:
  """Of this process; 0 where the system does not tell."""
  try:
    with open("/proc/self/maps", "rb") as maps:
      return sum(1 for _ in maps)
  except OSError:
    return 0
