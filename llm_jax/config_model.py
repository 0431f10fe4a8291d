"""The model's settings: one description by parts for every open family.

A family (Llama, Gemma, DeepSeek, ...) is a choice of these parts and no more:
`model/presets.py` gives the names, and the math never asks for one.
"""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting


@dataclasses.dataclass(frozen=True)
class Rules:
  """Logical array axis -> mesh axes it is split over (empty: replicated).

  The names on the left are those of `ParamSpec.axes` and of `shard(...)`; a
  misspelt one is an AttributeError at trace time, not a silent replication.
  """
  batch: tuple[str, ...] = setting(("data", "fsdp", "expert"),
                                   "rows of a batch")
  seq: tuple[str, ...] = setting(("context",), "time, in activations")
  act_embed: tuple[str, ...] = setting((), "embedding, in activations")
  act_vocab: tuple[str, ...] = setting(("tensor",), "vocabulary, in logits")
  vocab: tuple[str, ...] = setting(("tensor",), "vocabulary, in weights")
  embed: tuple[str, ...] = setting(("fsdp",), "embedding, in weights")
  heads: tuple[str, ...] = setting(("tensor",), "query heads")
  kv_heads: tuple[str, ...] = setting(("tensor",), "key/value heads")
  head_dim: tuple[str, ...] = setting((), "within a head")
  latent: tuple[str, ...] = setting((), "compressed queries, keys and values")
  low_rank: tuple[str, ...] = setting((), "inner axis of LoRA updates")
  mlp: tuple[str, ...] = setting(("tensor",), "MLP width")
  experts: tuple[str, ...] = setting(("expert",), "experts of a mixture")
  expert_choice: tuple[str, ...] = setting((), "experts, in the router")
  layers: tuple[str, ...] = setting((), "stacked layers")
  position: tuple[str, ...] = setting((), "learned position table rows")


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """How rotary frequencies are stretched to longer contexts."""
  kind: str = setting("none", "none | linear | ntk | llama3 | yarn | "
                      "longrope")
  factor: float = setting(1.0, "new / original context")
  original_max_len: int = setting(0, "context it was pretrained with")
  low_freq_factor: float = setting(1.0, "llama3: turns below which a frequency "
                                   "is divided by the factor")
  high_freq_factor: float = setting(4.0, "llama3: turns above which it is kept")
  beta_fast: float = setting(32.0, "yarn: turns above which it is kept")
  beta_slow: float = setting(1.0, "yarn: turns below which it is divided")
  truncate: bool = setting(True, "yarn: whole channels bound the ramp")
  attention_factor: float = setting(1.0, "yarn, longrope: multiplies cos, sin")
  short_factors: tuple[float, ...] = setting((), "longrope: divisors of the "
                                             "frequencies up to the original "
                                             "context")
  long_factors: tuple[float, ...] = setting((), "longrope: beyond it")

  def validate(self) -> None:
    """Raises `ConfigError` where the kind lacks what it needs."""
    require_choice("model.rope_scaling.kind", self.kind,
                   ("none", "linear", "ntk", "llama3", "yarn", "longrope"))
    require(self.factor >= 1, f"model.rope_scaling.factor is {self.factor}; "
            "it is the new context over the original one, at least 1.")
    require(self.kind in ("none", "linear", "ntk")
            or self.original_max_len > 0,
            f"model.rope_scaling.kind={self.kind} needs "
            "model.rope_scaling.original_max_len, the context that the model "
            "was pretrained with.")


@dataclasses.dataclass(frozen=True)
class LatentConfig:
  """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1).

  Keys and values are projected from a latent of `kv_rank` numbers per token,
  which is all that is cached, beside one rotary key that the heads share.
  """
  kv_rank: int = setting(0, "size of the key/value latent; 0: no MLA")
  q_rank: int = setting(0, "size of the query latent; 0: full queries")
  nope_dim: int = setting(0, "channels of a head without positions")
  rope_dim: int = setting(0, "channels of a head with rotary positions")
  v_dim: int = setting(0, "channels of a head's values")


@dataclasses.dataclass(frozen=True)
class MoeConfig:
  """A mixture of experts in place of the MLP."""
  num_experts: int = setting(0, "routed experts (E); 0: a dense MLP")
  experts_per_token: int = setting(2, "experts that a token goes to")
  mlp_dim: int = setting(0, "hidden width of one expert")
  shared_dim: int = setting(0, "width of the experts that see every token")
  first_dense: int = setting(0, "first layers that keep a dense MLP")
  router: str = setting("softmax", "softmax | sigmoid scores")
  normalize: bool = setting(True, "the chosen experts' weights sum to one")
  scale: float = setting(1.0, "multiplies the chosen experts' weights")
  correction_bias: bool = setting(False, "a bias that steers the choice of "
                                  "experts, not their weights (DeepSeek-V3)")
  groups: int = setting(1, "groups that the experts are divided into")
  top_groups: int = setting(1, "groups that a token's experts may be of")
  group_top: int = setting(1, "a group's score: the sum of its so many best")
  balance_coef: float = setting(0.0, "weight of the load-balancing loss")
  dispatch: str = setting("auto", "auto | gather | all_to_all: over mesh axis "
                          "expert, either every device of it sees all of its "
                          "tokens, or tokens travel to their experts; auto: "
                          "all_to_all where the axis is longer than one")
  capacity_factor: float = setting(0.0, "all_to_all: rows kept for a device's "
                                   "experts, over those of an even load; what "
                                   "comes beyond is dropped and counted; 0: "
                                   "room for all")

  def validate(self) -> None:
    """Raises `ConfigError` for a router that cannot choose."""
    if not self.num_experts:
      return
    require_choice("model.moe.router", self.router, ("softmax", "sigmoid"))
    require_choice("model.moe.dispatch", self.dispatch,
                   ("auto", "gather", "all_to_all"))
    require(self.capacity_factor == 0 or self.capacity_factor >= 1,
            f"model.moe.capacity_factor is {self.capacity_factor}; it is 0 "
            "(room for all) or at least 1.")
    require(self.mlp_dim > 0, f"model.moe.mlp_dim is {self.mlp_dim}; give the "
            "hidden width of one expert.")
    require(0 < self.experts_per_token <= self.num_experts,
            f"model.moe.experts_per_token={self.experts_per_token} is not "
            f"between 1 and model.moe.num_experts={self.num_experts}.")
    require(self.num_experts % self.groups == 0
            and 0 < self.top_groups <= self.groups,
            f"model.moe.groups={self.groups} must divide the "
            f"{self.num_experts} experts, and model.moe.top_groups="
            f"{self.top_groups} must be one to all of them.")
    require(self.experts_per_token
            <= self.top_groups * self.num_experts // self.groups,
            f"model.moe.experts_per_token={self.experts_per_token} is more "
            "than the experts in the groups a token may choose from; raise "
            "model.moe.top_groups.")


# What a layer's attention sees, and whether it is told positions.
LAYER_KINDS = ("global", "local", "global_nope", "local_nope")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """A decoder-only Transformer, described by its parts.

  The defaults are Llama-shaped; `llm_jax/model/presets.py` names others.
  """
  vocab_size: int = setting(0, "tokens in the vocabulary; 0: the tokenizer's")
  embed_dim: int = setting(128, "width of the residual stream (D)")
  num_layers: int = setting(4, "Transformer blocks (L)")
  num_heads: int = setting(4, "query heads (N)")
  num_kv_heads: int = setting(4, "key/value heads (K); < heads is GQA")
  head_dim: int = setting(32, "size of one head (H)")
  mlp_dim: int = setting(384, "hidden width of the MLP (F)")
  max_seq_len: int = setting(256, "longest context the model is built for")
  norm: str = setting("rmsnorm", "rmsnorm | layernorm")
  norm_eps: float = setting(1e-5, "added to the variance in norms")
  norm_offset: float = setting(0.0, "added to RMS norms' weights; Gemma's 1")
  norm_placement: str = setting("pre", "pre | post | both: norms before each "
                                "sub-block, after it, or around it")
  position: str = setting("rope", "rope | learned | none")
  rope_theta: float = setting(10_000.0, "base of the rotary frequencies")
  rope_local_theta: float = setting(0.0, "base in local layers, which are "
                                    "never stretched; 0: as in the others")
  rope_fraction: float = setting(1.0, "share of a head's channels turned")
  rope_scaling: RopeScaling = setting(RopeScaling(), "longer contexts")
  layer_pattern: tuple[str, ...] = setting(
      ("global",), "kinds of layers, repeated to num_layers: "
      + ", ".join(LAYER_KINDS) + " (local: within the window; nope: no "
      "rotary positions)")
  window: int = setting(0, "tokens that a local layer sees, its own included")
  mlp: str = setting("swiglu", "swiglu | geglu | gelu | relu2 (gelu in its "
                     "tanh form, GPT-2's)")
  use_bias: bool = setting(False, "biases in attention and MLP projections")
  qkv_bias: bool = setting(False, "biases in q, k and v projections only")
  qk_norm: str = setting("none", "none | head | full: RMS-normalise queries "
                         "and keys, per head or over all heads")
  attention_scale: float = setting(0.0, "multiplies q·k; 0: 1/sqrt(head_dim)")
  attention_softcap: float = setting(0.0, "c of c·tanh(score/c); 0: none")
  logit_softcap: float = setting(0.0, "the same, of the logits")
  embed_scale: float = setting(1.0, "multiplies the embeddings")
  tie_embeddings: bool = setting(True, "the head is the embedding, transposed")
  latent: LatentConfig = setting(LatentConfig(), "multi-head latent attention")
  moe: MoeConfig = setting(MoeConfig(), "mixture of experts")
  init_std: float = setting(0.02, "standard deviation of the initial weights")
  mup_base_dim: int = setting(0, "embed_dim at which learning rate and "
                              "init_std were tuned, which are then transferred "
                              "to this width (muP); 0: no transfer")
  compute_dtype: str = setting("float32", "float32 | bfloat16 activations")
  param_dtype: str = setting("float32", "float32 | bfloat16 weights")
  cache_dtype: str = setting("", "float32 | bfloat16 | int8 keys and values "
                             "of decoding; empty: compute_dtype")
  attention: str = setting("auto", "auto | reference | blockwise | jax | "
                           "splash (TPU)")
  context_attention: str = setting("ring", "ring | all_gather: how keys reach "
                                   "queries over mesh axis context")
  remat: str = setting("none", "none | dots | attention | full | offload: what "
                       "the backward pass computes again: nothing, all but "
                       "matrix products, all but attention's result, the whole "
                       "layer; offload: the whole layer, whose input waits in "
                       "the host's memory")
  scan_layers: bool = setting(True, "one compiled body for all layers")
  rules: Rules = setting(Rules(), "logical axes -> mesh axes")

  def layer_kind(self, layer: int) -> str:
    """Kind of layer number `layer`, one of `LAYER_KINDS`."""
    return self.layer_pattern[layer % len(self.layer_pattern)]

  def validate(self) -> None:
    """Raises `ConfigError` where the parts do not fit each other."""
    require(self.vocab_size > 0, "model.vocab_size must be positive; leave it "
            "0 in a config only where a tokenizer is given to fill it in.")
    for name in ("embed_dim", "num_layers", "num_heads", "num_kv_heads",
                 "head_dim", "mlp_dim", "max_seq_len"):
      require(getattr(self, name) > 0,
              f"model.{name} is {getattr(self, name)}; it must be positive.")
    require(self.num_heads % self.num_kv_heads == 0,
            f"model.num_heads={self.num_heads} is not divisible by "
            f"model.num_kv_heads={self.num_kv_heads}; each key/value head "
            "serves a whole number of query heads.")
    require_choice("model.norm", self.norm, ("rmsnorm", "layernorm"))
    require_choice("model.norm_placement", self.norm_placement,
                   ("pre", "post", "both"))
    require_choice("model.position", self.position,
                   ("rope", "learned", "none"))
    require_choice("model.mlp", self.mlp, ("swiglu", "geglu", "gelu", "relu2"))
    require_choice("model.qk_norm", self.qk_norm, ("none", "head", "full"))
    require_choice("model.attention", self.attention,
                   ("auto", "reference", "blockwise", "jax", "splash"))
    require_choice("model.context_attention", self.context_attention,
                   ("ring", "all_gather"))
    require_choice("model.remat", self.remat,
                   ("none", "dots", "attention", "full", "offload"))
    for name in ("compute_dtype", "param_dtype"):
      require_choice(f"model.{name}", getattr(self, name),
                     ("float32", "bfloat16", "float64"))
    require_choice("model.cache_dtype", self.cache_dtype,
                   ("", "float32", "bfloat16", "int8", "float64"))
    require(self.mup_base_dim >= 0, f"model.mup_base_dim is "
            f"{self.mup_base_dim}; it cannot be negative (0 is none).")
    require(not (self.mup_base_dim and self.tie_embeddings),
            "model.mup_base_dim transfers to a head that is not the embedding; "
            "set --nomodel.tie_embeddings, or model.mup_base_dim=0.")
    self._validate_positions()
    self._validate_latent()
    self.rope_scaling.validate()
    self.moe.validate()
    require(0 <= self.moe.first_dense <= self.num_layers,
            f"model.moe.first_dense={self.moe.first_dense} is not between 0 "
            f"and model.num_layers={self.num_layers}.")

  def _validate_positions(self) -> None:
    require(bool(self.layer_pattern), "model.layer_pattern is empty; name at "
            "least one kind of layer.")
    for kind in self.layer_pattern:
      require_choice("model.layer_pattern", kind, LAYER_KINDS)
    local = any(kind.startswith("local") for kind in self.layer_pattern)
    require(not local or self.window > 0, "model.layer_pattern has local "
            "layers; set model.window to the tokens that they see.")
    turned = self.head_dim * self.rope_fraction
    require(0 < self.rope_fraction <= 1, "model.rope_fraction is "
            f"{self.rope_fraction}; it is a share above 0, up to 1.")
    require(self.position != "rope" or self.latent.kv_rank
            or int(turned) % 2 == 0,
            f"model.head_dim={self.head_dim} with model.rope_fraction="
            f"{self.rope_fraction} turns {int(turned)} channels, which is "
            "odd; rotary positions turn pairs of channels, so make it even.")

  def _validate_latent(self) -> None:
    latent = self.latent
    if not latent.kv_rank:
      return
    require(min(latent.nope_dim, latent.rope_dim, latent.v_dim) > 0
            and latent.rope_dim % 2 == 0,
            f"model.latent has nope_dim={latent.nope_dim}, rope_dim="
            f"{latent.rope_dim}, v_dim={latent.v_dim}; each must be positive, "
            "and rope_dim even.")
    require(self.position == "rope", f"model.position={self.position}: latent "
            "attention is defined with rotary positions.")
    require(not (self.use_bias or self.qkv_bias) and self.qk_norm == "none",
            "latent attention has neither biases nor qk_norm; leave "
            "model.use_bias, model.qkv_bias and model.qk_norm unset.")
