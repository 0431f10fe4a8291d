"""Settings of the probes of base models (`experiments/probe_base_model.py`)."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting
from llm_jax.config_text import TextConfig

PROBES = ("regurgitation", "few_shot", "prompted_assistant", "hallucination")
FEW_SHOT_TASKS = ("antonyms", "capitals", "french", "past", "addition")


def _require_positive(prefix: str, **values: int) -> None:
  for name, value in values.items():
    require(value > 0, f"{prefix}.{name} is {value}; it must be positive.")


@dataclasses.dataclass(frozen=True)
class RegurgitationConfig:
  """Does the model recite what it has read?"""
  data: TextConfig = setting(TextConfig(validation_fraction=0.0), "what it was "
                             "trained on; a share held out then is held out "
                             "here")
  prompt_tokens: tuple[int, ...] = setting((8, 16, 32), "tokens of a document "
                                           "that it is given")
  new_tokens: int = setting(32, "tokens that should follow")
  documents: int = setting(64, "documents of each group at most")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.data.validate()
    require(bool(self.prompt_tokens) and min(self.prompt_tokens) > 0,
            f"regurgitation.prompt_tokens is {self.prompt_tokens}; give "
            "lengths of at least one token.")
    _require_positive("regurgitation", new_tokens=self.new_tokens,
                      documents=self.documents)


@dataclasses.dataclass(frozen=True)
class FewShotConfig:
  """Does it see the task in a few examples?"""
  tasks: tuple[str, ...] = setting(FEW_SHOT_TASKS, ", ".join(FEW_SHOT_TASKS))
  shots: tuple[int, ...] = setting((0, 1, 2, 4, 8), "examples in the prompt")
  questions: int = setting(24, "questions of each task")
  max_new_tokens: int = setting(8, "tokens of an answer at most")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for task in self.tasks:
      require_choice("few_shot.tasks", task, FEW_SHOT_TASKS)
    require(bool(self.shots) and 0 <= min(self.shots) <= max(self.shots) <= 16,
            f"few_shot.shots is {self.shots}; give numbers from 0 to 16.")
    _require_positive("few_shot", questions=self.questions,
                      max_new_tokens=self.max_new_tokens)


@dataclasses.dataclass(frozen=True)
class PromptedAssistantConfig:
  """Does it answer where a document shows how an assistant does?"""
  max_new_tokens: int = setting(48, "tokens of an answer at most")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    _require_positive("prompted_assistant",
                      max_new_tokens=self.max_new_tokens)


@dataclasses.dataclass(frozen=True)
class HallucinationConfig:
  """Does it say that it does not know?"""
  names: int = setting(16, "well-known people, and as many invented ones")
  samples: int = setting(8, "answers about each")
  temperature: float = setting(0.8, "of the samples")
  max_new_tokens: int = setting(12, "tokens of an answer at most")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    _require_positive("hallucination", names=self.names,
                      max_new_tokens=self.max_new_tokens)
    require(self.samples >= 2, f"hallucination.samples is {self.samples}; "
            "agreement needs two.")
    require(self.temperature > 0, "hallucination.temperature is "
            f"{self.temperature}; greedy samples always agree.")


@dataclasses.dataclass(frozen=True)
class ProbeBaseModelConfig:
  """experiments/probe_base_model.py"""
  checkpoint: str = setting("", "run directory of a model trained here")
  model: str = setting("", "in its place: a named model, a Hugging Face "
                       "folder or a .gguf file")
  probe: str = setting("all", "all | " + " | ".join(PROBES))
  regurgitation: RegurgitationConfig = setting(RegurgitationConfig(), "text "
                                               "continued verbatim")
  few_shot: FewShotConfig = setting(FewShotConfig(), "tasks by example")
  prompted_assistant: PromptedAssistantConfig = setting(
      PromptedAssistantConfig(), "an assistant by prompt alone")
  hallucination: HallucinationConfig = setting(HallucinationConfig(),
                                               "people who never lived")
  batch_size: int = setting(16, "rows at once")
  output: str = setting("", "JSON file for the results; empty: print only")
  seed: int = setting(0, "sampling; which examples are shown; which documents "
                      "are held out")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_choice("probe", self.probe, ("all", *PROBES))
    for part in (self.regurgitation, self.few_shot, self.prompted_assistant,
                 self.hallucination):
      part.validate()
    require(self.batch_size > 0, f"batch_size is {self.batch_size}; it must "
            "be positive.")
    require(not (self.model and self.checkpoint), "--model and --checkpoint "
            "both name a model; give one of them.")


@dataclasses.dataclass(frozen=True)
class RepeatDocumentsConfig:
  """experiments/repeat_documents.py"""
  data: TextConfig = setting(TextConfig(), "documents to choose from")
  output: str = setting("runs/memorize/corpus.jsonl", "the corpus, .jsonl")
  repeats: tuple[int, ...] = setting((1, 2, 4, 8, 16, 32, 64), "how often a "
                                     "document occurs")
  documents: int = setting(40, "documents for each of these numbers")
  max_chars: int = setting(400, "characters kept of a document")
  seed: int = setting(0, "which documents, and their order")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.data.validate()
    require(self.output.endswith(".jsonl"), f"output={self.output} does not "
            "end in .jsonl, which is what is written.")
    require(bool(self.repeats) and min(self.repeats) > 0, f"repeats is "
            f"{self.repeats}; give numbers of at least one.")
    for name in ("documents", "max_chars"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
