"""The parts that configs are made of, as frozen dataclasses.

`config.py` puts them together into one root per experiment, and hands all of
them on: import settings from there. The model's are in `config_model.py`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any


class ConfigError(ValueError):
  """A user's mistake, told in one sentence: what, where, and the remedy."""


class DataFault(ConfigError):
  """A fault in one row of a user's data, which can be passed over.

  Attributes:
    kind: what it is counted as, in a word or two: "malformed JSON".
  """

  def __init__(self, kind: str, sentence: str):
    super().__init__(sentence)
    self.kind = kind


def setting(default: Any, help: str) -> Any:  # noqa: A002 - absl's own word
  """A dataclass field with a default and the help text of its flag."""
  return dataclasses.field(default=default, metadata={"help": help})


def require(condition: bool, message: str) -> None:
  """Raises `ConfigError(message)` unless `condition` holds."""
  if not condition:
    raise ConfigError(message)


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
  """Raises `ConfigError` unless `value` is one of `choices`."""
  require(value in choices,
          f"{name} is {value!r}; choose one of {', '.join(choices)}.")


# --- devices ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each mesh axis; one axis may be -1: all that remain."""
  data: int = setting(-1, "copies of the parameters (data parallel)")
  fsdp: int = setting(1, "parameters and batch split (ZeRO-3)")
  tensor: int = setting(1, "heads, MLP and vocabulary split")
  context: int = setting(1, "sequence split")
  expert: int = setting(1, "experts split")
  dcn_data: int = setting(1, "slices, joined by the data-centre network, that "
                          "are copies: the data axis is so many times longer")
  dcn_fsdp: int = setting(1, "slices over which parameters are split: the fsdp "
                          "axis is so many times longer")

  def validate(self) -> None:
    """Raises `ConfigError` for sizes that cannot be a mesh."""
    sizes = (self.data, self.fsdp, self.tensor, self.context, self.expert)
    require(sizes.count(-1) <= 1, "only one of mesh.data, mesh.fsdp, "
            "mesh.tensor, mesh.context, mesh.expert may be -1 (the rest).")
    require(all(s == -1 or s >= 1 for s in sizes),
            f"mesh sizes are {sizes}; each must be positive, or -1 once.")
    require(min(self.dcn_data, self.dcn_fsdp) >= 1, "mesh.dcn_data and "
            f"mesh.dcn_fsdp are {self.dcn_data} and {self.dcn_fsdp}; they "
            "count slices, at least 1.")


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
  """Several processes of one run; found out on TPU, Slurm and MPI."""
  coordinator: str = setting("", "HOST:PORT of process 0; empty: what the "
                             "cluster says, or one process")
  num_processes: int = setting(0, "processes, where coordinator is given")
  process_id: int = setting(-1, "which of them this is, from 0")

  def validate(self) -> None:
    """Raises `ConfigError` for a coordinator without its processes."""
    if not self.coordinator:
      require(not self.num_processes and self.process_id < 0,
              "distributed.num_processes and distributed.process_id need "
              "--distributed.coordinator=HOST:PORT, the address of process 0.")
      return
    require(self.coordinator.rpartition(":")[2].isdigit(),
            f"distributed.coordinator is {self.coordinator!r}; it is "
            "HOST:PORT, such as 10.0.0.1:1234.")
    require(0 <= self.process_id < self.num_processes,
            f"distributed.process_id is {self.process_id} of "
            f"distributed.num_processes={self.num_processes}; processes are "
            "numbered from 0.")


# --- training ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """An Optax optimiser, its schedule and its clipping."""
  name: str = setting("adamw", "adamw | muon (matrices) with adamw (the rest) "
                      "| lion | adafactor")
  learning_rate: float = setting(3e-3, "peak learning rate")
  schedule: str = setting("cosine", "cosine | wsd | linear | constant, after "
                          "warm-up")
  warmup_steps: int = setting(50, "steps of linear warm-up from zero")
  decay_fraction: float = setting(0.3, "wsd: share of the steps that decay")
  final_learning_rate: float = setting(0.1, "end / peak learning rate; "
                                       "0: to nothing")
  weight_decay: float = setting(0.1, "decoupled; on matrices only")
  b1: float = setting(0.9, "Adam's first decay, Lion's of the update")
  b2: float = setting(0.95, "Adam's second decay, Lion's of the momentum")
  eps: float = setting(1e-8, "Adam's epsilon")
  clip_norm: float = setting(1.0, "global gradient norm bound; 0: none")
  lr_factors: tuple[str, ...] = setting(
      (), "PATTERN:FACTOR, multiplies the learning rate of the parameters "
      "whose path (as in the table at start-up) the regular expression finds")
  moments_dtype: str = setting("float32", "float32 | bfloat16: how moments "
                               "are kept")
  ema_decay: float = setting(0.0, "decay of an average of the parameters, "
                             "which is what evaluation reads; 0: none")
  max_skipped: int = setting(10, "steps in a row whose loss or gradient is "
                             "not finite, which are skipped, until the run "
                             "stops")

  def validate(self) -> None:
    """Raises `ConfigError` for values no optimiser can use."""
    require_choice("optimizer.name", self.name,
                   ("adamw", "muon", "lion", "adafactor"))
    require_choice("optimizer.schedule", self.schedule,
                   ("cosine", "wsd", "linear", "constant"))
    require_choice("optimizer.moments_dtype", self.moments_dtype,
                   ("float32", "bfloat16"))
    require(0 <= self.ema_decay < 1, "optimizer.ema_decay is "
            f"{self.ema_decay}; it is a share from 0 to below 1.")
    require(self.max_skipped >= 1, "optimizer.max_skipped is "
            f"{self.max_skipped}; it must be positive.")
    # A moment that changes by less than half of bfloat16's 1/128 stays.
    require(self.moments_dtype == "float32" or self.b2 <= 0.99,
            f"optimizer.b2={self.b2} changes moments by less than bfloat16 can "
            "tell; choose at most 0.99, or --optimizer.moments_dtype=float32.")
    self.factors()
    require(self.learning_rate > 0, "optimizer.learning_rate is "
            f"{self.learning_rate}; it must be positive.")
    require(0 <= self.decay_fraction <= 1, "optimizer.decay_fraction is "
            f"{self.decay_fraction}; it is a share between 0 and 1.")
    require(self.warmup_steps >= 0, "optimizer.warmup_steps is "
            f"{self.warmup_steps}; it cannot be negative.")

  def factors(self) -> tuple[tuple[str, float], ...]:
    """`lr_factors` as (pattern, factor); raises `ConfigError` for others."""
    found = []
    for entry in self.lr_factors:
      pattern, _, factor = entry.rpartition(":")
      try:
        re.compile(pattern)
        found.append((pattern, float(factor)))
      except (re.error, ValueError):
        found.append(("", -1.0))
      require(bool(found[-1][0]) and 0 <= found[-1][1] < math.inf,
              f"optimizer.lr_factors has {entry!r}; each entry is "
              "PATTERN:FACTOR, a regular expression and a number that is not "
              "negative, such as embed:0.2.")
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """How the next-token loss is computed."""
  chunk: int = setting(0, "tokens of a row whose logits exist at once; 0: all "
                       "of them")
  z_coef: float = setting(0.0, "weight of the squared log-normaliser of the "
                          "logits (z-loss); PaLM's is 1e-4")
  vocab_parts: int = setting(0, "parts of the vocabulary, whose logits are "
                             "computed one after the other, and the head "
                             "gathered likewise; computes logits twice; 0: no")

  def validate(self) -> None:
    """Raises `ConfigError` for negative settings."""
    require(self.chunk >= 0, f"loss.chunk is {self.chunk}; it cannot be "
            "negative (0 is all).")
    require(self.vocab_parts >= 0, f"loss.vocab_parts is {self.vocab_parts}; "
            "it cannot be negative (0 leaves the vocabulary whole).")
    require(not (self.chunk and self.vocab_parts), "loss.chunk and "
            "loss.vocab_parts are two ways to have fewer logits at once; set "
            "one of them.")
    require(self.z_coef >= 0, f"loss.z_coef is {self.z_coef}; it cannot be "
            "negative.")


# What LoRA may update, by its name in the parameter tree.
LORA_TARGETS = ("q", "k", "v", "o", "gate", "up", "down", "q_down", "q_up",
                "kv_down", "k_up", "v_up", "head")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """Low-rank updates of a frozen model (Hu et al. 2021, arXiv:2106.09685)."""
  rank: int = setting(0, "rank of the updates (r); 0: no LoRA, all is trained")
  alpha: float = setting(16.0, "the updates are multiplied by alpha / rank")
  rank_stabilized: bool = setting(False, "by alpha / sqrt(rank) instead "
                                  "(rsLoRA)")
  targets: tuple[str, ...] = setting(
      LORA_TARGETS[:-1], "kernels to update, those that the model has of: "
      + ", ".join(LORA_TARGETS))

  @property
  def scale(self) -> float:
    """s = α/r, or α/√r (Kalajdzievski 2023, arXiv:2312.03732)."""
    return self.alpha / (self.rank**0.5 if self.rank_stabilized else self.rank)

  def validate(self) -> None:
    """Raises `ConfigError` for updates that cannot be."""
    require(self.rank >= 0, f"lora.rank is {self.rank}; it cannot be negative "
            "(0 trains all parameters).")
    require(self.alpha > 0, f"lora.alpha is {self.alpha}; it must be positive.")
    for target in self.targets:
      require_choice("lora.targets", target, LORA_TARGETS)


@dataclasses.dataclass(frozen=True)
class LoggingConfig:
  """Where metrics go and how often."""
  every: int = setting(20, "steps between metric lines")
  tensorboard: bool = setting(True, "write TensorBoard event files")
  wandb_project: str = setting("", "also log to this Weights & Biases project")
  layer_norms: bool = setting(False, "also the norms of each layer's gradient "
                              "and update")
  examples: bool = setting(False, "also examples.jsonl: the numbers of the "
                           "rows that each step has read (not in rl)")
  profile_steps: str = setting("", "FIRST:END, steps whose trace for XProf and "
                               "TensorBoard is written, such as 10:13")

  def validate(self) -> None:
    """Raises `ConfigError` for steps that are none."""
    self.profiled()

  def profiled(self) -> range:
    """`profile_steps` as a range; raises `ConfigError` where it is none."""
    if not self.profile_steps:
      return range(0)
    first, _, end = self.profile_steps.partition(":")
    require(first.isdigit() and end.isdigit() and 0 < int(first) < int(end),
            f"logging.profile_steps is {self.profile_steps!r}; it is "
            "FIRST:END, such as 10:13 for steps 10, 11 and 12.")
    return range(int(first), int(end))


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """How often a run is saved and how much is kept."""
  every: int = setting(200, "steps between checkpoints")
  keep: int = setting(2, "newest checkpoints kept")

  def validate(self) -> None:
    """Raises `ConfigError` for intervals that never save."""
    require(self.every > 0, f"checkpoint.every is {self.every}; it must be "
            "positive (the last step is always saved).")
    require(self.keep > 0, f"checkpoint.keep is {self.keep}; keep at least 1.")


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
  """How the next token is drawn; hashable, static under `jit`.

  `inference/sampling.py` says in which order the settings apply.
  """
  temperature: float = setting(1.0, "0: the likeliest token (greedy)")
  top_k: int = setting(0, "keep the k likeliest tokens; 0: all")
  top_p: float = setting(1.0, "keep the smallest set with this probability")
  max_new_tokens: int = setting(128, "tokens generated at most")
  min_p: float = setting(0.0, "drop tokens less likely than this share of the "
                         "likeliest; 0: none")
  repetition_penalty: float = setting(1.0, "above 1: tokens of the prompt or "
                                      "the completion are less likely")
  frequency_penalty: float = setting(0.0, "taken off a logit for each time "
                                     "that its token was generated")
  presence_penalty: float = setting(0.0, "taken off the logit of each token "
                                    "that was generated")
  logit_bias: tuple[str, ...] = setting((), "ID:BIAS, added to that token's "
                                        "logit; ID:-inf bans it")
  stop: tuple[str, ...] = setting((), "texts that end a completion, and are "
                                  "not part of it")

  def validate(self) -> None:
    """Raises `ConfigError` for values that leave nothing to sample."""
    require(self.temperature >= 0, f"temperature is {self.temperature}; it "
            "cannot be negative (0 is greedy).")
    require(self.top_k >= 0, f"top_k is {self.top_k}; 0 keeps every token.")
    require(0 < self.top_p <= 1,
            f"top_p is {self.top_p}; it is a probability above 0, up to 1.")
    require(self.max_new_tokens > 0, f"max_new_tokens is "
            f"{self.max_new_tokens}; generate at least one.")
    require(0 <= self.min_p <= 1, f"min_p is {self.min_p}; it is a share of "
            "the likeliest token's probability, from 0 to 1.")
    require(0 < self.repetition_penalty < math.inf, "repetition_penalty is "
            f"{self.repetition_penalty}; it is a factor above 0 (1 is none).")
    for name in ("frequency_penalty", "presence_penalty"):
      require(math.isfinite(getattr(self, name)),
              f"{name} is {getattr(self, name)}; it must be finite.")
    require(all(self.stop), "stop has an empty text, which every completion "
            "begins with; leave it out.")
    self.biases()

  def biases(self) -> tuple[tuple[int, float], ...]:
    """`logit_bias` as (id, bias) pairs; raises `ConfigError` for others."""
    pairs = []
    for entry in self.logit_bias:
      token_id, _, bias = entry.partition(":")
      try:
        pairs.append((int(token_id), float(bias)))
      except ValueError:
        pairs.append((-1, math.nan))
      require(pairs[-1][0] >= 0 and pairs[-1][1] < math.inf,
              f"logit_bias has {entry!r}; each entry is ID:BIAS, a token's id "
              "and a number (or -inf), such as 13:-2.5.")
    ids = [token_id for token_id, _ in pairs]
    require(len(set(ids)) == len(ids), "logit_bias names a token twice; give "
            "each token one bias.")
    return tuple(pairs)

  @property
  def narrowing(self) -> tuple[str, ...]:
    """`name=value` of each setting that makes it another distribution than the
    model's at `temperature`."""
    plain = ("temperature", "max_new_tokens", "stop")
    return tuple(f"{field.name}={getattr(self, field.name)}"
                 for field in dataclasses.fields(self)
                 if field.name not in plain
                 and getattr(self, field.name) != field.default)
