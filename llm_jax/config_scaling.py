"""Settings of compiling for accelerators that are not here
(`experiments/compile_for_tpu.py`)."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting
from llm_jax.config_training import PretrainConfig

STEPS = ("train", "prefill", "decode")


@dataclasses.dataclass(frozen=True)
class CompileForTpuConfig(PretrainConfig):
  """experiments/compile_for_tpu.py: a pretraining run, and where it would run.

  It extends pretraining's root, so that --config takes pretraining's recipes
  and every setting of them is a flag here, too.
  """
  topology: str = setting("cpu:8", "KIND:SHAPE of the slice, such as v5e:8x8 "
                          "or v5p:4x4x4; cpu:8 is eight devices of this host")
  slices: int = setting(1, "slices of that shape; mesh.dcn_data or "
                        "mesh.dcn_fsdp say what is split over them")
  steps: tuple[str, ...] = setting(STEPS, "what is compiled: "
                                   + ", ".join(STEPS))
  serve_batch: int = setting(0, "rows of prefill and decode; 0: one for each "
                             "part that the rules split a batch into")
  serve_len: int = setting(0, "tokens of a prompt, and slots of the cache; "
                           "0: seq_len")
  output: str = setting("", "directory for report.json and report.md; empty: "
                        "print only")
  save_hlo: bool = setting(False, "also write each compiled program's text, "
                           "STEP.hlo.txt, to output")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    super().validate()
    kind, _, shape = self.topology.partition(":")
    require(bool(kind) and all(n.isdigit() and int(n) > 0
                               for n in shape.split("x")),
            f"topology is {self.topology!r}; give KIND:SHAPE, such as v5e:8x8, "
            "v5p:4x4x4 or cpu:8.")
    require(self.slices >= 1, f"slices is {self.slices}; it must be at least "
            "1.")
    require(bool(self.steps), "steps is empty; name at least one of "
            f"{', '.join(STEPS)}.")
    for step in self.steps:
      require_choice("steps", step, STEPS)
    for name in ("serve_batch", "serve_len"):
      require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it "
              "cannot be negative.")
    require(not self.save_hlo or bool(self.output), "save_hlo needs a "
            "directory; give --output=DIRECTORY.")
