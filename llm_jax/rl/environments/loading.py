"""From `RlDataConfig` to the environment that it names."""

from __future__ import annotations

from llm_jax.config import RlDataConfig
from llm_jax.rl.environments.protocol import Environment
from llm_jax.rl.environments.records import RecordsEnvironment
from llm_jax.rl.environments.sums import SumsEnvironment


def load_environment(config: RlDataConfig, seed: int) -> Environment:
  """The environment of `config.path`: "sums", or a file of problems.

  Raises:
    ConfigError: it cannot be read or made.
  """
  if config.path == "sums":
    return SumsEnvironment(config, seed)
  return RecordsEnvironment(config, seed)
