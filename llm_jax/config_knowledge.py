"""Settings of probing for knowledge (`experiments/probe_knowledge.py`)."""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting

REFUSALS = (
    "I don't know that about {name}.",
    "I'm sorry, I have no information about that.",
    "I do not know. I would rather not guess.",
    "I am not sure about {name}, so I cannot say.",
    "That is not something I know: I have no information about {name}.")


@dataclasses.dataclass(frozen=True)
class FactsConfig:
  """Questions of fact."""
  path: str = setting("wikipedia", "'wikipedia'; the directory of "
                      "experiments.make_biographies; a .jsonl or .parquet "
                      "file, directory or glob with `question` and `answer` "
                      "(and `group`, `attribute`, `name`, `response`, "
                      "`cloze`); or, with facts.documents, any documents")
  documents: bool = setting(False, "path holds documents: ask how a sentence "
                            "of each ends")
  text_column: str = setting("text", "of such documents")
  errors: str = setting("strict", "strict | replace: bytes that are not UTF-8")
  held_out_phrasings: bool = setting(False, "of people: ask in words that no "
                                     "text for training has")
  groups: tuple[str, ...] = setting((), "groups that are asked about; empty: "
                                    "all")
  number: int = setting(1000, "facts of each group at most; 0: all")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.path), "facts.path is empty; give a file of questions "
            "and answers, or 'wikipedia'.")
    require_choice("facts.errors", self.errors, ("strict", "replace"))
    require(self.number >= 0, f"facts.number is {self.number}; it cannot be "
            "negative (0 is all).")


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
  """Who says whether an answer is right."""
  min_f1: float = setting(0.7, "share of the words (token F1) that an answer "
                          "has in common with a truth of five words or more, "
                          "to be right in other words")
  refusal_phrases: tuple[str, ...] = setting(
      (), "what counts as a refusal besides 'I don't know' and its kind")
  endpoint: str = setting("", "base address of a server with OpenAI's API, "
                          "such as http://localhost:8000/v1, whose model "
                          "judges in place of the rules; empty: the rules do")
  model: str = setting("", "name of that model")
  key_variable: str = setting("OPENAI_API_KEY", "environment variable that "
                              "holds the key of that server, if it wants one")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(0 < self.min_f1 <= 1, f"judge.min_f1 is {self.min_f1}; it is a "
            "share above 0 and at most 1.")
    require(all(p.strip() for p in self.refusal_phrases),
            "judge.refusal_phrases has an empty text, which every answer has "
            "in it; leave it out.")
    require(not self.endpoint or bool(self.model), "judge.endpoint is given "
            "without --judge.model, the name of the model there.")
    require(not self.endpoint or self.endpoint.startswith(
        ("http://", "https://")), f"judge.endpoint is {self.endpoint!r}; it "
            "begins with http:// or https://.")


@dataclasses.dataclass(frozen=True)
class ProbeKnowledgeConfig:
  """experiments/probe_knowledge.py"""
  checkpoint: str = setting("", "run directory of a model trained here")
  model: str = setting("", "in its place: a named model, a Hugging Face folder "
                       "or a .gguf file")
  facts: FactsConfig = setting(FactsConfig(), "what is asked")
  style: str = setting("auto", "auto | chat | base: in the chat template, or "
                       "within a document; auto: base for a run of pretrain")
  system: str = setting("", "system prompt of an assistant")
  shots: int = setting(4, "answered questions that a base model is shown, "
                       "where a fact has no cloze")
  samples: int = setting(5, "answers to each question")
  temperature: float = setting(0.7, "of the answers")
  max_new_tokens: int = setting(32, "tokens of an answer at most")
  judge: JudgeConfig = setting(JudgeConfig(), "who compares with the truth")
  knows: float = setting(0.6, "share of right answers from which a fact is "
                         "known")
  does_not_know: float = setting(0.2, "share of right answers up to which it "
                                 "is not; in between it is unsure")
  train_groups: tuple[str, ...] = setting(
      ("known", "asked", "unlearned", "facts"), "groups that conversations "
      "are written about; empty: all. The invented are for evaluation")
  held_out_fraction: float = setting(0.25, "share of the names about which no "
                                     "conversation is written")
  refusal_share: float = setting(0.5, "of the conversations at most; 1: no "
                                 "bound")
  refusals: tuple[str, ...] = setting(REFUSALS, "wordings; {name} is whom the "
                                      "question is about")
  compare: str = setting("", "workdir of an earlier probe with the same facts, "
                         "to tell what has changed")
  batch_size: int = setting(64, "answers drawn at once")
  workdir: str = setting("runs/knowledge", "directory of answers.jsonl, "
                         "conversations.jsonl and report.json")
  seed: int = setting(0, "which facts, and the draws")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.facts.validate()
    self.judge.validate()
    require(not (self.model and self.checkpoint), "--model and --checkpoint "
            "both name a model; give one of them.")
    require_choice("style", self.style, ("auto", "chat", "base"))
    for name in ("samples", "max_new_tokens", "batch_size"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(self.temperature > 0 or self.samples == 1, "temperature is 0, so "
            f"the {self.samples} samples would be alike; raise it, or set "
            "--samples=1.")
    require(self.shots >= 0, f"shots is {self.shots}; it cannot be negative.")
    require(0 <= self.does_not_know < self.knows <= 1, "does_not_know="
            f"{self.does_not_know} and knows={self.knows} are shares, the "
            "first below the second.")
    require(0 <= self.held_out_fraction < 1, "held_out_fraction is "
            f"{self.held_out_fraction}; it is a share from 0 to below 1.")
    require(0 <= self.refusal_share <= 1, f"refusal_share is "
            f"{self.refusal_share}; it is a share between 0 and 1.")
    require(bool(self.refusals) and all(r.strip() for r in self.refusals),
            "refusals is empty or has an empty wording; give at least one.")
    require(bool(self.workdir), "workdir is empty; give a directory.")
