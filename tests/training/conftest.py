"""One compilation of each program, for all tests of this directory."""

import jax
from jax.experimental.compilation_cache import compilation_cache
import pytest


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
  """A state is made anew in many tests, by the same program each time."""
  before = {name: getattr(jax.config, name) for name in (
      "jax_compilation_cache_dir",
      "jax_persistent_cache_min_compile_time_secs")}
  directory = tmp_path_factory.getbasetemp() / "compiled"
  jax.config.update("jax_compilation_cache_dir", str(directory))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
