"""Settings of compiling for accelerators that are not here
(`experiments/compile_for_tpu.py`)."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting
from llm_jax.config_rl import RlConfig
from llm_jax.config_training import PretrainConfig

STEPS = ("train", "prefill", "decode")
RL_STEPS = ("train", "sync", "start", "resume", "compact")


@dataclasses.dataclass(frozen=True)
class CompileTarget:
  """What is compiled for, and where the answer goes; the roots below extend it.
  """
  topology: str = setting("cpu:8", "KIND:SHAPE of the slice, such as v5e:8x8 "
                          "or v5p:4x4x4; cpu:8 is eight devices of this host")
  slices: int = setting(1, "slices of that shape; mesh.dcn_data or "
                        "mesh.dcn_fsdp say what is split over them")
  output: str = setting("", "directory for report.json and report.md; empty: "
                        "print only")
  save_hlo: bool = setting(False, "also write each compiled program's text, "
                           "STEP.hlo.txt, to output")

  def validate_target(self, choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` for a slice that has no name, or another step."""
    kind, _, shape = self.topology.partition(":")
    require(bool(kind) and all(n.isdigit() and int(n) > 0
                               for n in shape.split("x")),
            f"topology is {self.topology!r}; give KIND:SHAPE, such as v5e:8x8, "
            "v5p:4x4x4 or cpu:8.")
    require(self.slices >= 1, f"slices is {self.slices}; it must be at least "
            "1.")
    require(bool(self.steps), "steps is empty; name at least one of "
            f"{', '.join(choices)}.")
    for step in self.steps:
      require_choice("steps", step, choices)
    require(not self.save_hlo or bool(self.output), "save_hlo needs a "
            "directory; give --output=DIRECTORY.")


@dataclasses.dataclass(frozen=True)
class CompileForTpuConfig(PretrainConfig, CompileTarget):
  """experiments/compile_for_tpu.py: a pretraining run, and where it would run.

  It extends pretraining's root, so that --config takes pretraining's recipes
  and every setting of them is a flag here, too.
  """
  steps: tuple[str, ...] = setting(STEPS, "what is compiled: "
                                   + ", ".join(STEPS))
  serve_batch: int = setting(0, "rows of prefill and decode; 0: one for each "
                             "part that the rules split a batch into")
  serve_len: int = setting(0, "tokens of a prompt, and slots of the cache; "
                           "0: seq_len")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    super().validate()
    self.validate_target(STEPS)
    for name in ("serve_batch", "serve_len"):
      require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it "
              "cannot be negative.")


@dataclasses.dataclass(frozen=True)
class CompileRlForTpuConfig(RlConfig, CompileTarget):
  """experiments/compile_for_tpu.py: a run of reinforcement learning, likewise.

  What model it is, `init_from` says: its weights need not be there.
  """
  steps: tuple[str, ...] = setting(
      RL_STEPS, "what is compiled: train; sync (the sampler's weights of the "
      "trained ones); start (prompts read, first tokens drawn); resume (tokens "
      "drawn on, in the longest cache); compact (rows moved to that cache)")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    super().validate()
    self.validate_target(RL_STEPS)
