"""From `RlDataConfig` to the environment that it names."""

from __future__ import annotations

from llm_jax.config import RlDataConfig, require
from llm_jax.rl.environments.games import GameEnvironment
from llm_jax.rl.environments.gym import GymEnvironment
from llm_jax.rl.environments.mixture import MixtureEnvironment
from llm_jax.rl.environments.protocol import Environment
from llm_jax.rl.environments.records import RecordsEnvironment
from llm_jax.rl.environments.sums import SumsEnvironment


def load_environment(config: RlDataConfig, seed: int) -> Environment:
  """The environment of `config.path`, or of the parts of `config.mixture`.

  Raises:
    ConfigError: it cannot be read or made.
  """
  config.validate()
  families = {path.removeprefix("gym:") for path, _ in config.weighted
              if path.startswith("gym:")}
  for entry in config.gym_settings:
    name, dot, _ = entry.partition(".")
    require(bool(families), f"data.gym_settings has {entry!r}, but there is no "
            "family of reasoning-gym; give --data.path=gym:FAMILY.")
    require(not dot or "=" in name or name in families, f"data.gym_settings "
            f"has {entry!r}, but the families are {', '.join(families)}.")
  parts = {path: (_load(config, path, seed), weight)
           for path, weight in config.weighted}
  if not config.mixture:
    return parts[config.path][0]
  return MixtureEnvironment(parts, seed)


def _load(config: RlDataConfig, path: str, seed: int) -> Environment:
  kind, colon, name = path.partition(":")
  if path == "sums":
    return SumsEnvironment(config, seed)
  if kind == "gym" and colon:
    return GymEnvironment(config, name, seed)
  if kind == "game" and colon:
    return GameEnvironment(config, name, seed)
  return RecordsEnvironment(config, path, seed)
