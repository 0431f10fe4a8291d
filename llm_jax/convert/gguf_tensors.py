"""Where a GGUF file keeps each of our tensors.

As in Hugging Face's files there is one tensor per layer, matrices [out, in],
so `hf_tensors.Entry` says most of it. GGUF has three ways of its own: experts
are stacked, Gemma's norms have their offset added in, and where llama.cpp
turns neighbouring pairs of channels, the rows of queries and keys are in that
order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from llm_jax.config import ModelConfig
from llm_jax.convert.hf_tensors import Entry, Names, Shape, linear, norm


@dataclasses.dataclass(frozen=True)
class Paired(Entry):
  """Queries or keys whose rotary channels are neighbouring pairs."""

  def split(self, theirs: np.ndarray, shapes: Sequence[Shape],
            config: ModelConfig) -> list[np.ndarray]:
    """Ours, out of theirs."""
    return super().split(self._turned(theirs, shapes[0][-1], False), shapes,
                         config)

  def join(self, ours: Sequence[np.ndarray], config: ModelConfig
           ) -> np.ndarray:
    """Theirs, out of ours."""
    return self._turned(super().join(ours, config), ours[0].shape[-1], True)

  def _turned(self, rows: np.ndarray, head_dim: int, pairs: bool
              ) -> np.ndarray:
    heads_NHD = rows.reshape(-1, head_dim, *rows.shape[1:])
    order = np.arange(head_dim).reshape(-1, 2).T.reshape(-1)
    if pairs:
      order = np.argsort(order)
    return heads_NHD[:, order].reshape(rows.shape)


@dataclasses.dataclass(frozen=True)
class Shifted(Entry):
  """A norm's weight with `model.norm_offset` added in."""

  def split(self, theirs: np.ndarray, shapes: Sequence[Shape],
            config: ModelConfig) -> list[np.ndarray]:
    """Ours, out of theirs."""
    shift = np.float32(config.norm_offset)
    return [part - shift for part in super().split(theirs, shapes, config)]

  def join(self, ours: Sequence[np.ndarray], config: ModelConfig
           ) -> np.ndarray:
    """Theirs, out of ours."""
    joined = super().join(ours, config).astype(np.float32)
    return joined + np.float32(config.norm_offset)


@dataclasses.dataclass(frozen=True)
class Permuted(Entry):
  """A tensor of three axes in another order; `order` says which of ours."""
  order: tuple[int, ...] = (0, 2, 1)  # experts' matrices: [experts, out, in]

  def shape(self, shapes: Sequence[Shape]) -> Shape:
    """Their tensor's shape, from ours'."""
    return tuple(shapes[0][axis] for axis in self.order)

  def split(self, theirs: np.ndarray, shapes: Sequence[Shape],
            config: ModelConfig) -> list[np.ndarray]:
    """Ours, out of theirs."""
    return [theirs.transpose(np.argsort(self.order))]

  def join(self, ours: Sequence[np.ndarray], config: ModelConfig
           ) -> np.ndarray:
    """Theirs, out of ours."""
    return ours[0].transpose(self.order)


def _paired(theirs: str, ours: str) -> tuple[Entry, ...]:
  return (Paired(theirs + ".weight", (ours,)),
          Paired(theirs + ".bias", (ours + "_bias",), "flat"))


def _attention(pairs: bool) -> tuple[Entry, ...]:
  make = _paired if pairs else linear
  return (*make("attn_q", "attention.q"), *make("attn_k", "attention.k"),
          *linear("attn_v", "attention.v"),
          *linear("attn_output", "attention.o"))


_QK_NORMS = (Entry("attn_q_norm.weight", ("attention.q_norm",), "flat"),
             Entry("attn_k_norm.weight", ("attention.k_norm",), "flat"))
_FUSED_QKV = (*linear("attn_qkv", "attention.q", "attention.k", "attention.v"),
              *linear("attn_output", "attention.o"))
_MLP = (*linear("ffn_gate", "mlp.gate"), *linear("ffn_up", "mlp.up"),
        *linear("ffn_down", "mlp.down"))
_EXPERTS = (Entry("ffn_gate_inp.weight", ("moe.router",)),
            *(Permuted(f"ffn_{name}_exps.weight", (f"moe.{name}",))
              for name in ("gate", "up", "down")))
_PRE_NORMS = (*norm("attn_norm", "attention_norm"),
              *norm("ffn_norm", "mlp_norm"))
_POST_NORMS = (*norm("post_attention_norm", "attention_post_norm"),
               *norm("post_ffw_norm", "mlp_post_norm"))
_ROOT = (Entry("token_embd.weight", ("embed.tokens",), "table"),
         Entry("position_embd.weight", ("embed.positions",), "table"),
         *norm("output_norm", "final_norm"))


def _names(*block: Entry, root: tuple[Entry, ...] = _ROOT) -> Names:
  return Names("", "blk.", root, block, Entry("output.weight",
                                              ("head.kernel",)))


def _shifted(names: Names) -> Names:
  """The same, with an offset in the norms' weights."""
  def shift(entries):
    return tuple(Shifted(e.theirs, e.ours, e.kind) if "norm" in e.theirs else e
                 for e in entries)
  return dataclasses.replace(names, root=shift(names.root),
                             block=shift(names.block))


LLAMA = _names(*_attention(pairs=True), *_MLP, *_EXPERTS, *_PRE_NORMS)
QWEN = _names(*_attention(pairs=False), *_QK_NORMS, *_MLP, *_EXPERTS,
              *_PRE_NORMS)
GEMMA = _shifted(_names(*_attention(pairs=False), *_QK_NORMS, *_MLP,
                        *_PRE_NORMS, *_POST_NORMS))
OLMO2 = _names(*_attention(pairs=False), *_QK_NORMS, *_MLP, *_POST_NORMS)
GPT2 = _names(*_FUSED_QKV, *_MLP, *_PRE_NORMS)
PHI3 = _names(*_FUSED_QKV, *linear("ffn_up", "mlp.gate", "mlp.up"),
              *linear("ffn_down", "mlp.down"), *_PRE_NORMS)
DEEPSEEK = _names(
    Entry("attn_q.weight", ("attention.q",)),
    Entry("attn_q_a.weight", ("attention.q_down",)),
    Entry("attn_q_a_norm.weight", ("attention.q_down_norm",), "flat"),
    Entry("attn_q_b.weight", ("attention.q_up",)),
    Entry("attn_kv_a_mqa.weight", ("attention.kv_down",)),
    Entry("attn_kv_a_norm.weight", ("attention.kv_norm",), "flat"),
    # As they are applied to the latents: [heads, latent, channels] and
    # [heads, channels, latent].
    Permuted("attn_k_b.weight", ("attention.k_up",), order=(1, 0, 2)),
    Permuted("attn_v_b.weight", ("attention.v_up",), order=(1, 2, 0)),
    Entry("attn_output.weight", ("attention.o",)),
    *_MLP, *_EXPERTS, *_PRE_NORMS,
    Entry("exp_probs_b.bias", ("moe.router_bias",), "flat"),
    *(Entry(f"ffn_{name}_shexp.weight", (f"moe.shared.{name}",))
      for name in ("gate", "up", "down")))
