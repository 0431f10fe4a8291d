"""Settings of the suite on the mind of a model (`experiments/evaluate.py`)."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting
from llm_jax.config_tools import ToolsConfig

SECTIONS = ("identity", "hallucination", "search", "arithmetic", "thinking",
            "counting", "spelling", "jagged")


@dataclasses.dataclass(frozen=True)
class PsychologyConfig:
  """Sections of `llm_jax/evals/psychology/`."""
  sections: tuple[str, ...] = setting(SECTIONS, "of " + ", ".join(SECTIONS))
  items: int = setting(1000, "held-out questions of each condition, fewer "
                       "where there are no more")
  people: str = setting("runs/biographies", "directory of "
                        "experiments.make_biographies, from which the model "
                        "has its known people")
  identity_facts: str = setting("", "what the model was trained to say of "
                                "itself; empty: what its run's config says")
  digits: int = setting(4, "of the numbers in arithmetic")
  tools: ToolsConfig = setting(
      ToolsConfig(names=("python", "search"), corpus=""), "that it is given "
      "where a condition says so; an empty corpus is that of people")
  style: str = setting("auto", "auto | chat | base: in the chat template, or "
                       "within a document; auto: base for a run of pretrain")
  shots: int = setting(4, "answered questions on people that a base model is "
                       "shown")
  temperature: float = setting(0.0, "of the answers; 0: greedy")
  max_new_tokens: int = setting(128, "tokens of an answer at most")
  calibration_facts: int = setting(400, "facts, half of them unlearned, that "
                                   "are asked several times; 0: none")
  calibration_samples: int = setting(5, "answers to each of them")
  calibration_temperature: float = setting(0.7, "of those answers")
  refusal_phrases: tuple[str, ...] = setting(
      (), "what counts as a refusal besides 'I don't know' and its kind")

  @property
  def offered(self) -> ToolsConfig:
    """`tools` with the corpus filled in."""
    return dataclasses.replace(self.tools, corpus=self.tools.corpus
                               or f"{self.people}/search.jsonl")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.sections), "psychology.sections is empty; name at least "
            "one.")
    for name in self.sections:
      require_choice("psychology.sections", name, SECTIONS)
    require(self.items >= 2, f"psychology.items is {self.items}; an interval "
            "needs two.")
    require(1 <= self.digits <= 9, f"psychology.digits is {self.digits}; "
            "choose 1 to 9.")
    require_choice("psychology.style", self.style, ("auto", "chat", "base"))
    for name in ("shots", "temperature", "calibration_facts"):
      require(getattr(self, name) >= 0, f"psychology.{name} is "
              f"{getattr(self, name)}; it cannot be negative.")
    require(self.max_new_tokens > 0, "psychology.max_new_tokens is "
            f"{self.max_new_tokens}; it must be positive.")
    require(not self.calibration_facts or self.calibration_samples >= 2,
            f"psychology.calibration_samples is {self.calibration_samples}; "
            "agreement needs two.")
    require(not self.calibration_facts or self.calibration_temperature > 0,
            "psychology.calibration_temperature is "
            f"{self.calibration_temperature}; greedy answers always agree.")
    require(all(p.strip() for p in self.refusal_phrases),
            "psychology.refusal_phrases has an empty text, which every answer "
            "has in it; leave it out.")
    self.offered.validate()
