"""Settings of what reinforcement learning maximises."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting


@dataclasses.dataclass(frozen=True)
class CriticConfig:
  """The value model of PPO, used where advantages=gae."""
  learning_rate: float = setting(1e-3, "peak; the rest as optimizer.*")
  value_clip: float = setting(0.2, "a value gains nothing further than this "
                              "from what it was at the rollout; 0: no clipping")
  discount: float = setting(1.0, "γ, per generated token")
  trace: float = setting(0.95, "λ of GAE: 1 sums rewards to the end, 0 trusts "
                         "the next value")
  warmup_steps: int = setting(0, "first steps, in which the critic alone is "
                              "trained")

  def validate(self) -> None:
    """Raises `ConfigError` for values without a meaning."""
    require(self.learning_rate > 0, "objective.critic.learning_rate is "
            f"{self.learning_rate}; it must be positive.")
    require(self.value_clip >= 0, "objective.critic.value_clip is "
            f"{self.value_clip}; it cannot be negative (0 is no clipping).")
    for name in ("discount", "trace"):
      require(0 <= getattr(self, name) <= 1, f"objective.critic.{name} is "
              f"{getattr(self, name)}; it is from 0 to 1.")
    require(self.warmup_steps >= 0, "objective.critic.warmup_steps is "
            f"{self.warmup_steps}; it cannot be negative.")


# PPO's (and GRPO's); GSPO's, section 5.1; MiniMax-M1's has none below.
_BOUNDS = {"clipped": (0.2, 0.2), "gspo": (3e-4, 4e-4), "cispo": (1.0, 4.0),
           "reinforce": (0.0, 0.0)}


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """An algorithm as a combination: docs/reinforcement.md has the names."""
  kind: str = setting("clipped", "clipped (PPO, GRPO, DAPO) | gspo | cispo | "
                      "reinforce")
  advantages: str = setting("group", "group (GRPO, Dr. GRPO) | rloo | batch "
                            "(reward less the batch's mean) | gae (PPO, with "
                            "a critic)")
  normalize_std: bool = setting(True, "divide advantages by their standard "
                                "deviation, in the group or else the batch; "
                                "not done by rloo")
  normalization: str = setting("token", "response (GRPO) | token (DAPO) | "
                               "constant (Dr. GRPO): what counts alike")
  clip_low: float = setting(-1.0, "ratio bound below: 1 - clip_low; negative: "
                            "that of the kind's paper (clipped 0.2, gspo 3e-4, "
                            "cispo 1: none)")
  clip_high: float = setting(-1.0, "ratio bound above: 1 + clip_high; "
                             "negative: that of the kind's paper (clipped 0.2, "
                             "gspo 4e-4, cispo 4)")
  kl_coef: float = setting(0.0, "weight of the KL to the initial model")
  kl_estimator: str = setting("k3", "k1 | k2 | k3 (rl/kl.py)")
  kl_in: str = setting("loss", "loss | reward: where the KL is counted")
  kl_ratio: bool = setting(False, "multiply the loss's KL by the ratio: its "
                           "gradient, of k1 and k3, is then the KL's own")
  entropy_coef: float = setting(0.0, "weight of the entropy bonus")
  importance_cap: float = setting(0.0, "a token's loss is weighted by how much "
                                  "likelier the trainer finds it than the "
                                  "sampler did, at most so much; 0: unweighted")
  critic: CriticConfig = setting(CriticConfig(), "value model, for gae")

  @property
  def needs_reference(self) -> bool:
    """Whether the initial model's parameters are kept and read."""
    return self.kl_coef > 0

  @property
  def compares_groups(self) -> bool:
    """Whether a sample's advantage is over the others of its prompt."""
    return self.advantages in ("group", "rloo")

  @property
  def clip_bounds(self) -> tuple[float, float]:
    """(clip_low, clip_high), those of the kind's paper where they are not set.
    """
    low, high = _BOUNDS[self.kind]
    return (low if self.clip_low < 0 else self.clip_low,
            high if self.clip_high < 0 else self.clip_high)

  @property
  def needs_critic(self) -> bool:
    """Whether a value model is trained beside the policy."""
    return self.advantages == "gae"

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for name, choices in (
        ("kind", ("clipped", "gspo", "cispo", "reinforce")),
        ("advantages", ("group", "rloo", "batch", "gae")),
        ("normalization", ("response", "token", "constant")),
        ("kl_estimator", ("k1", "k2", "k3")), ("kl_in", ("loss", "reward"))):
      require_choice(f"objective.{name}", getattr(self, name), choices)
    for name in ("kl_coef", "entropy_coef", "importance_cap"):
      require(getattr(self, name) >= 0, f"objective.{name} is "
              f"{getattr(self, name)}; it cannot be negative.")
    require(self.clip_low <= 1, f"objective.clip_low is {self.clip_low}; a "
            "ratio is never below 0, so 1 is no bound at all.")
    require(self.importance_cap == 0 or self.importance_cap >= 1,
            f"objective.importance_cap is {self.importance_cap}, which lowers "
            "also the weight of tokens that both policies find as likely; give "
            "1 or more, or 0 for none.")
    require(self.kl_coef == 0 or self.kl_in == "reward" or self.kl_ratio
            or self.kl_estimator != "k1", "objective.kl_estimator=k1 in the "
            "loss holds nothing: the mean of its gradient is zero. Set "
            "objective.kl_ratio, take k2 or k3, or objective.kl_in=reward.")
    require(not self.kl_ratio or (self.kl_coef > 0 and self.kl_in == "loss"),
            "objective.kl_ratio is of the KL in the loss; set objective.kl_coef"
            " above 0 and objective.kl_in=loss.")
    require(not (self.kind == "gspo" and self.needs_critic),
            "objective.kind=gspo has one ratio for a whole response, and "
            "objective.advantages=gae one advantage for each token; choose "
            "clipped, or other advantages.")
    self.critic.validate()
