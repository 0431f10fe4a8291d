"""Dr. GRPO, "GRPO done right" (Liu et al. 2025, arXiv:2503.20783).

Two divisions of GRPO are left out: by the group's standard deviation, which
favours problems that are nearly always or nearly never solved, and by each
response's own length, which makes long wrong answers cheap. The sum over tokens
is divided by a constant instead. No KL.

Command:   python -m experiments.rl --config=configs/rl_dr_grpo.py
Hardware:  2 CPU cores, after `make quickstart`, whose finetuned model it takes
Time:      160 s, two cores shared with other work
Expect:    71.6% -> 99.2% of 1,024 held-out problems (seed 0)
"""

import dataclasses

from configs import quickstart_rl
from llm_jax.config import ObjectiveConfig, RlConfig


def get_config() -> RlConfig:
  """Dr. GRPO on the quickstart's sums."""
  return dataclasses.replace(
      quickstart_rl.get_config(), workdir="runs/rl_dr_grpo",
      objective=ObjectiveConfig(
          kind="clipped", advantages="group", normalize_std=False,
          normalization="constant", clip_low=0.2, clip_high=0.2))
