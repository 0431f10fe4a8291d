"""Settings of the weights that samples are drawn with."""

from __future__ import annotations

import dataclasses

from llm_jax.config_model import Rules
from llm_jax.config_parts import require_choice, setting


@dataclasses.dataclass(frozen=True)
class SyncConfig:
  """From the parameters that are trained to those that sample."""
  dtype: str = setting("", "bfloat16 | int8: of the weights that sample, which "
                       "then are not quite the policy that is trained "
                       "(objective.importance_cap); empty: as trained")
  own_rules: bool = setting(False, "split them by sync.rules over the same "
                            "mesh, rather than as for training")
  rules: Rules = setting(Rules(embed=()), "where own_rules; the default reads "
                         "no weight from another device to use it, as FSDP "
                         "does for every token")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_choice("sync.dtype", self.dtype, ("", "bfloat16", "int8"))
