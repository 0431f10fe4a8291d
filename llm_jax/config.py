"""Every setting a user can make, as frozen dataclasses.

One root per experiment (`PretrainConfig`, `SftConfig`, ...), made of the parts
in `config_parts.py` and `config_model.py`. A config is hashable, so it can be a
static argument of `jit`; it is passed explicitly and last; `validate` raises
`ConfigError` with a sentence that names the field and the remedy.
`config_flags.py` turns each leaf into one absl flag, with the help text given
here.
"""

from __future__ import annotations

import dataclasses

from llm_jax.config_chat import (  # noqa: F401 - handed on
    BiographiesConfig, MakeBiographiesConfig, MakeConversationsConfig,
    SyntheticChatConfig, WriterConfig)
from llm_jax.config_conversations import (  # noqa: F401 - handed on
    SftDataConfig, ViewConversationsConfig)
from llm_jax.config_curate import (  # noqa: F401 - handed on
    CrawlLocalConfig, CurateConfig, MakeSampleCrawlConfig, ScoreCrawlConfig,
    TrainQualityClassifierConfig)
from llm_jax.config_demonstrate import DemonstrateConfig  # noqa: F401 - too
from llm_jax.config_knowledge import (  # noqa: F401 - handed on
    ProbeKnowledgeConfig)
from llm_jax.config_model import (  # noqa: F401 - handed on
    LatentConfig, ModelConfig, MoeConfig, RopeScaling, Rules)
from llm_jax.config_objectives import (  # noqa: F401 - handed on
    CriticConfig, ObjectiveConfig)
from llm_jax.config_parts import (  # noqa: F401 - handed on
    CheckpointConfig, ConfigError, DataFault, DistributedConfig, LoggingConfig,
    LoraConfig, LossConfig, MeshConfig, OptimizerConfig, SamplingConfig,
    require, require_choice, setting)
from llm_jax.config_probes import (  # noqa: F401 - handed on
    ProbeBaseModelConfig, RepeatDocumentsConfig)
from llm_jax.config_psychology import PsychologyConfig
from llm_jax.config_practice import PracticeConfig  # noqa: F401 - too
from llm_jax.config_r1 import R1Config  # noqa: F401 - too
from llm_jax.config_rejection import RejectionSampleConfig  # noqa: F401 - too
from llm_jax.config_rl import RlConfig
from llm_jax.config_rollouts import (  # noqa: F401 - handed on
    ViewRolloutsConfig)
from llm_jax.config_scaling import (  # noqa: F401 - handed on
    CompileForTpuConfig, CompileRlForTpuConfig)
from llm_jax.config_scaling_laws import (  # noqa: F401 - handed on
    ScalingLawsConfig)
from llm_jax.config_selfplay import (  # noqa: F401 - handed on
    ConnectFourConfig, ImitationConfig, ImprovementConfig, MatchConfig,
    SelfplayConfig, TeacherConfig, TreeSearchConfig, ViewSelfplayConfig)
from llm_jax.config_sft import SftConfig
from llm_jax.config_sync import SyncConfig  # noqa: F401 - handed on
from llm_jax.config_tasks import (  # noqa: F401 - handed on
    CurriculumConfig, RewardsConfig, RlDataConfig)
from llm_jax.config_text import (  # noqa: F401 - handed on
    TextConfig, TokenizerConfig)
from llm_jax.config_think import ThinkTaskConfig
from llm_jax.config_tools import (  # noqa: F401 - handed on
    ProgramLimits, ToolsConfig)
from llm_jax.config_training import (  # noqa: F401 - handed on
    PretrainConfig, PretrainDataConfig, TrainRunConfig)


@dataclasses.dataclass(frozen=True)
class TrainTokenizerConfig:
  """experiments/train_tokenizer.py"""
  data: TextConfig = setting(TextConfig(), "documents to learn from")
  tokenizer: TokenizerConfig = setting(TokenizerConfig(), "what to learn")
  output: str = setting("runs/tokenizer", "directory the tokenizer goes to")
  seed: int = setting(0, "decides which documents are held out")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.data.validate()
    self.tokenizer.validate()
    require(bool(self.output), "output is empty; give a directory.")


@dataclasses.dataclass(frozen=True)
class TokenizeCorpusConfig:
  """experiments/tokenize_corpus.py"""
  data: TextConfig = setting(TextConfig(), "documents to tokenise")
  tokenizer: str = setting("runs/tokenizer", "tokenizer directory or file")
  output: str = setting("runs/shards", "directory the token shards go to")
  tokens_per_shard: int = setting(100_000_000, "tokens in one shard file")
  num_workers: int = setting(0, "threads or processes that encode; 0: one for "
                             "each core")
  verify: bool = setting(False, "only read the shards at output and compare "
                         "them with their checksums")
  seed: int = setting(0, "decides which documents are held out")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.data.validate()
    require(self.num_workers >= 0, f"num_workers is {self.num_workers}; it "
            "cannot be negative (0 is one for each core).")
    require(self.tokens_per_shard > 0, f"tokens_per_shard is "
            f"{self.tokens_per_shard}; it must be positive.")


@dataclasses.dataclass(frozen=True)
class ViewTokensConfig:
  """experiments/view_tokens.py"""
  tokenizers: tuple[str, ...] = setting(
      ("runs/quickstart/tokenizer",), "vocabularies to compare: directories "
      "and files as tokenize_corpus takes them, names of tiktoken's encodings, "
      "named models such as smollm2-135m")
  text: str = setting("Hello, world! It's 1984; naïve 数学 🙂", "what is cut")
  file: str = setting("", "a file in UTF-8 to cut instead")
  listed: int = setting(40, "tokens of each that are listed with id and bytes")
  html: str = setting("", "also write a page with a text box, to this file")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.tokenizers), "tokenizers is empty; name at least one.")
    require(len(set(self.tokenizers)) == len(self.tokenizers),
            "tokenizers names one twice; name each once.")
    require(self.listed >= 0, f"listed is {self.listed}; it cannot be "
            "negative.")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """experiments/evaluate.py"""
  checkpoint: str = setting("", "run directory, Hugging Face folder or "
                            "organisation/name, .gguf file, or a named model")
  suite: str = setting("all", "all (of the next two) | bits_per_byte | "
                       "problems (also called sums) | psychology")
  psychology: PsychologyConfig = setting(PsychologyConfig(), "that suite")
  baseline: str = setting("", "psychology: a model to compare with, or the "
                          ".json that an earlier evaluation of it wrote")
  data: TextConfig = setting(TextConfig(), "text for bits per byte")
  problems: RlDataConfig = setting(RlDataConfig(), "problems with answers")
  samples: int = setting(1, "answers to each problem; above 1 also pass@k")
  sampling: SamplingConfig = setting(SamplingConfig(), "of generative suites")
  batch_size: int = setting(64, "rows at once")
  seq_len: int = setting(256, "context of bits per byte")
  output: str = setting("", "JSON file for the results; empty: print only")
  seed: int = setting(0, "sampling, and which documents are held out")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_choice("suite", self.suite, ("all", "bits_per_byte", "sums",
                                         "problems", "psychology"))
    require(not self.baseline or self.suite == "psychology", "baseline is for "
            f"--suite=psychology, not {self.suite}; leave it out.")
    self.data.validate()
    self.problems.validate()
    self.psychology.validate()
    self.sampling.validate()
    for name in ("samples", "batch_size", "seq_len"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(self.problems.eval_problems > 0, "problems.eval_problems is "
            f"{self.problems.eval_problems}; it must be positive.")


@dataclasses.dataclass(frozen=True)
class ChatConfig:
  """experiments/chat.py"""
  checkpoint: str = setting("", "run directory of pretrain, sft or rl")
  model: str = setting("", "any other model: smollm2-135m, a Hugging Face "
                       "folder or organisation/name, or a .gguf file")
  dtype: str = setting("", "float32 | bfloat16; empty: as the weights are")
  int8: bool = setting(False, "weights in int8: a quarter of float32's memory")
  prompt: str = setting("", "answer this once and exit")
  system: str = setting("", "system prompt")
  temperature: float = setting(0.7, "0: the likeliest token (greedy)")
  top_k: int = setting(0, "keep the k likeliest tokens; 0: all")
  top_p: float = setting(1.0, "keep the smallest set with this probability")
  min_p: float = setting(0.0, "drop tokens less likely than this share of the "
                         "likeliest; 0: none")
  repetition_penalty: float = setting(1.0, "above 1: tokens that were there "
                                      "are less likely")
  stop: tuple[str, ...] = setting((), "texts that end an answer, and are not "
                                  "part of it")
  max_new_tokens: int = setting(160, "tokens of one answer at most")
  raw: bool = setting(False, "continue the text that is typed, as a base model "
                      "does, rather than answer")
  tools: ToolsConfig = setting(ToolsConfig(), "what the model may call")
  seed: int = setting(0, "sampling")

  @property
  def sampling(self) -> SamplingConfig:
    """How tokens are drawn."""
    return SamplingConfig(
        temperature=self.temperature, top_k=self.top_k, top_p=self.top_p,
        min_p=self.min_p, repetition_penalty=self.repetition_penalty,
        stop=self.stop, max_new_tokens=self.max_new_tokens)

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.sampling.validate()
    require_choice("dtype", self.dtype, ("", "float32", "bfloat16"))
    self.tools.validate()
    require(not (self.tools.names and self.stop), "--stop may cut a call of a "
            "tool in two; leave it out, or --tools.names.")
    require(not (self.tools.names and self.raw), "--raw continues a text, and "
            "--tools.names is for a model that answers; leave one of them out.")
    require(not (self.model and self.checkpoint), "--model and --checkpoint "
            "both name a model; give one of them.")
    require(bool(self.model or self.checkpoint), "no model is named; give "
            "--checkpoint=RUN, the directory of a training run, such as "
            "runs/quickstart/rl, or --model=smollm2-135m.")


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
  """experiments/convert.py"""
  source: str = setting("", "run directory, Hugging Face folder or "
                        "organisation/name, .gguf file, or a named model")
  output: str = setting("", "directory the model goes to; for gguf also a "
                        "file's name, *.gguf")
  format: str = setting("hf", "hf | gguf | orbax | peft (of a LoRA run: the "
                        "adapter alone)")
  dtype: str = setting("", "hf: float32 | bfloat16 | float16; orbax: float32 | "
                       "bfloat16; gguf: f32 | f16 | bf16 | q8_0; empty: as "
                       "they are (gguf: f16)")
  model_type: str = setting("", "hf: the family to write; empty: the first "
                            "that has the model's parts")
  max_shard_gb: float = setting(5.0, "hf: gigabytes of one file of weights")
  base_model: str = setting("", "peft: name or path of the frozen model's "
                            "Hugging Face folder, for who reads the adapter")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.source), "source is empty; give --source=RUN, FOLDER, "
            "FILE.gguf or a model's name.")
    require(bool(self.output), "output is empty; give --output=DIRECTORY.")
    dtypes = {"hf": ("", "float32", "bfloat16", "float16"),
              "gguf": ("", "f32", "f16", "bf16", "q8_0", "float32", "float16",
                       "bfloat16"),
              "orbax": ("", "float32", "bfloat16"), "peft": ("", "float32")}
    require_choice("format", self.format, tuple(dtypes))
    require_choice(f"dtype (of format={self.format})", self.dtype,
                   dtypes[self.format])
    require(self.max_shard_gb > 0, f"max_shard_gb is {self.max_shard_gb}; it "
            "must be positive.")


@dataclasses.dataclass(frozen=True)
class ThinkConfig:
  """experiments/think.py"""
  task: ThinkTaskConfig = setting(ThinkTaskConfig(), "what is asked, and the "
                                  "manners in which it is answered")
  init_from: str = setting("", "base checkpoint that each manner starts from; "
                           "empty: one and the same untrained model")
  model: ModelConfig = setting(ModelConfig(), "the untrained model")
  vocab_size: int = setting(276, "of its tokenizer, learnt from the problems")
  recipe: SftConfig = setting(SftConfig(), "training; data, init_from and "
                              "workdir are each manner's own")
  max_new_tokens: int = setting(48, "tokens of an answer at most")
  batch_size: int = setting(128, "problems at once, when they are evaluated")
  workdir: str = setting("runs/think", "directory of all runs, think.json and "
                         "think.html")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    self.task.validate()
    self.recipe.validate()
    for name in ("max_new_tokens", "batch_size"):
      require(getattr(self, name) > 0,
              f"{name} is {getattr(self, name)}; it must be positive.")
    require(not self.recipe.plateau_metric, "recipe.plateau_metric is set; the "
            "manners are trained for equally many steps, so leave it empty.")


@dataclasses.dataclass(frozen=True)
class QuickstartConfig:
  """experiments/quickstart.py"""
  workdir: str = setting("runs/quickstart", "directory of all stages")
  crawl: MakeSampleCrawlConfig = setting(MakeSampleCrawlConfig(), "stage 1")
  curate: CurateConfig = setting(CurateConfig(), "stage 2")
  tokenizer: TrainTokenizerConfig = setting(TrainTokenizerConfig(), "stage 3")
  corpus: TokenizeCorpusConfig = setting(TokenizeCorpusConfig(), "stage 4")
  pretrain: PretrainConfig = setting(PretrainConfig(), "stage 5")
  sft: SftConfig = setting(SftConfig(), "stage 6")
  rl: RlConfig = setting(RlConfig(), "stage 7")
  report_prompts: tuple[str, ...] = setting(
      ("who are you?", "What is Paris?", "What is 7+8+5+9+3+4+1+6 modulo 2?",
       "How many 'r' are in 'strawberry'?"),
      "answered by base, SFT and RL models side by side")
  report_temperature: float = setting(0.3, "of those answers")
