"""Where a Hugging Face checkpoint keeps each of our tensors.

Theirs are one per layer (and expert), matrices [out, in]; ours are stacked,
[layers, (experts,) in..., out...] with heads apart. An `Entry` names one of
their tensors and those of ours that it holds, and turns one into the other.
An entry whose tensors a model does not have (`param_specs` decides) is
skipped, so a family's list may name all that any of its sizes has.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from llm_jax.config import ModelConfig
from llm_jax.model.params import ParamSpec

Shape = tuple[int, ...]

# Our kernels are [in, out...], this one [heads, head_dim, out].
_TWO_INPUT_AXES = ("attention.o",)
# Kernels whose last channels (of each head, where there are heads) are turned
# by rotary positions in neighbouring pairs there and in halves here.
_ROTARY = ("attention.q", "attention.q_up", "attention.kv_down")


@dataclasses.dataclass(frozen=True)
class Entry:
  """One tensor of theirs.

  Attributes:
    theirs: its name, after `layers.N.` for those of a block; may have
      "{expert}", where ours is stacked over experts.
    ours: path(s) of ours that it holds, one after the other.
    kind: "matrix" ([out, in]), "conv" ([in, out]), "flat" (a vector, of ours
      with or without heads) or "table" (as ours).
    by_head: ours follow each other within each head, not whole.
  """
  theirs: str
  ours: tuple[str, ...]
  kind: str = "matrix"
  by_head: bool = False

  def shape(self, shapes: Sequence[Shape]) -> Shape:
    """Their tensor's shape, from ours'."""
    if self.kind == "table":
      return shapes[0]
    if self.kind == "flat":
      return (sum(math.prod(shape) for shape in shapes),)
    rows = sum(math.prod(s[self._inputs(path):])
               for path, s in zip(self.ours, shapes))
    width = math.prod(shapes[0][:self._inputs(self.ours[0])])
    return (width, rows) if self.kind == "conv" else (rows, width)

  def _inputs(self, path: str) -> int:
    return 2 if path in _TWO_INPUT_AXES else 1

  def split(self, theirs: np.ndarray, shapes: Sequence[Shape],
            config: ModelConfig) -> list[np.ndarray]:
    """Our tensors, of `shapes`, out of theirs; views where possible."""
    if self.kind == "table":
      return [theirs]
    if self.kind == "flat":
      ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
      return [piece.reshape(shape)
              for piece, shape in zip(np.split(theirs, ends), shapes)]
    if self.kind == "conv":
      theirs = theirs.T
    heads = config.num_heads if self.by_head else 1
    rows_HRD = theirs.reshape(heads, -1, theirs.shape[1])
    sizes = [math.prod(s[self._inputs(path):]) // heads
             for path, s in zip(self.ours, shapes)]
    pieces = np.split(rows_HRD, np.cumsum(sizes)[:-1], axis=1)
    return [
        self._reorder(path, piece.reshape(-1, theirs.shape[1]), config,
                      halves=True).T.reshape(shape)
        for path, piece, shape in zip(self.ours, pieces, shapes)]

  def join(self, ours: Sequence[np.ndarray], config: ModelConfig
           ) -> np.ndarray:
    """Their tensor out of ours: the reverse of `split`."""
    if self.kind == "table":
      return ours[0]
    if self.kind == "flat":
      return np.concatenate([piece.reshape(-1) for piece in ours])
    heads = config.num_heads if self.by_head else 1
    pieces = []
    for path, piece in zip(self.ours, ours):
      width = math.prod(piece.shape[:self._inputs(path)])
      matrix = self._reorder(path, piece.reshape(width, -1).T, config,
                             halves=False)
      pieces.append(matrix.reshape(heads, -1, width))
    joined = (pieces[0] if len(pieces) == 1
              else np.concatenate(pieces, axis=1)).reshape(-1, width)
    return joined.T if self.kind == "conv" else joined

  def _reorder(self, path: str, matrix: np.ndarray, config: ModelConfig,
               halves: bool) -> np.ndarray:
    """Rows of rotary channels from pairs to `halves`, or back."""
    turned = config.latent.rope_dim
    if not turned or path not in _ROTARY:
      return matrix
    heads = 1 if path == "attention.kv_down" else config.num_heads
    rows_HRD = matrix.reshape(heads, -1, matrix.shape[1]).copy()
    order = np.arange(turned).reshape(-1, 2).T.reshape(-1)
    if not halves:
      order = np.argsort(order)
    rows_HRD[:, -turned:] = rows_HRD[:, -turned:][:, order]
    return rows_HRD.reshape(matrix.shape)


@dataclasses.dataclass(frozen=True)
class Names:
  """The tensors of a family.

  Attributes:
    base: prefix of all names but the head's; absent in some files.
    layers: what stands between it and a layer's number.
    root: entries outside the blocks.
    block: entries of one block.
    head: their name of the unembedding.
  """
  base: str
  layers: str
  root: tuple[Entry, ...]
  block: tuple[Entry, ...]
  head: Entry = Entry("lm_head.weight", ("head.kernel",))


def linear(theirs: str, *ours: str, kind: str = "matrix") -> tuple[Entry, ...]:
  """A projection: its weight, and its bias if ours has one."""
  return (Entry(theirs + ".weight", ours, kind),
          Entry(theirs + ".bias", tuple(path + "_bias" for path in ours),
                "flat"))


def norm(theirs: str, ours: str) -> tuple[Entry, ...]:
  """A norm: scale, and bias if it has one."""
  return (Entry(theirs + ".weight", (ours + ".scale",), "flat"),
          Entry(theirs + ".bias", (ours + ".bias",), "flat"))


def present(entries: tuple[Entry, ...], specs: dict[str, ParamSpec]
            ) -> list[Entry]:
  """The entries of which a model has the tensors.

  Args:
    entries: a family's.
    specs: path -> spec of the model's block, or of its root.
  """
  found = [entry for entry in entries if entry.ours[0] in specs]
  covered = [path for entry in found for path in entry.ours]
  assert sorted(covered) == sorted(specs), (
      f"not once each: {set(covered) ^ set(specs) or covered}")
  return found


# --- names --------------------------------------------------------------------

_ATTENTION = (
    *linear("self_attn.q_proj", "attention.q"),
    *linear("self_attn.k_proj", "attention.k"),
    *linear("self_attn.v_proj", "attention.v"),
    *linear("self_attn.o_proj", "attention.o"),
    Entry("self_attn.q_norm.weight", ("attention.q_norm",), "flat"),
    Entry("self_attn.k_norm.weight", ("attention.k_norm",), "flat"))
_MLP = (*linear("mlp.gate_proj", "mlp.gate"), *linear("mlp.up_proj", "mlp.up"),
        *linear("mlp.down_proj", "mlp.down"))
_PRE_NORMS = (*norm("input_layernorm", "attention_norm"),
              *norm("post_attention_layernorm", "mlp_norm"))
_LLAMA_ROOT = (Entry("embed_tokens.weight", ("embed.tokens",), "table"),
               *norm("norm", "final_norm"))


def _llama_like(*block: Entry) -> Names:
  return Names("model.", "layers.", _LLAMA_ROOT, block)


LLAMA = _llama_like(*_ATTENTION, *_MLP, *_PRE_NORMS)

OLMO2 = _llama_like(
    *_ATTENTION, *_MLP,
    *norm("post_attention_layernorm", "attention_post_norm"),
    *norm("post_feedforward_layernorm", "mlp_post_norm"))

GEMMA2 = _llama_like(
    *_ATTENTION, *_MLP, *norm("input_layernorm", "attention_norm"),
    *norm("post_attention_layernorm", "attention_post_norm"),
    *norm("pre_feedforward_layernorm", "mlp_norm"),
    *norm("post_feedforward_layernorm", "mlp_post_norm"))

PHI3 = _llama_like(
    *linear("self_attn.qkv_proj", "attention.q", "attention.k", "attention.v"),
    *linear("self_attn.o_proj", "attention.o"),
    *linear("mlp.gate_up_proj", "mlp.gate", "mlp.up"),
    *linear("mlp.down_proj", "mlp.down"), *_PRE_NORMS)

MIXTRAL = _llama_like(
    *_ATTENTION, *_PRE_NORMS,
    Entry("block_sparse_moe.gate.weight", ("moe.router",)),
    Entry("block_sparse_moe.experts.{expert}.w1.weight", ("moe.gate",)),
    Entry("block_sparse_moe.experts.{expert}.w3.weight", ("moe.up",)),
    Entry("block_sparse_moe.experts.{expert}.w2.weight", ("moe.down",)))

_EXPERTS = (
    Entry("mlp.gate.weight", ("moe.router",)),
    *(Entry(f"mlp.experts.{{expert}}.{name}_proj.weight", (f"moe.{name}",))
      for name in ("gate", "up", "down")))

QWEN_MOE = _llama_like(*_ATTENTION, *_MLP, *_PRE_NORMS, *_EXPERTS)

DEEPSEEK = _llama_like(
    Entry("self_attn.q_proj.weight", ("attention.q",)),
    Entry("self_attn.q_a_proj.weight", ("attention.q_down",)),
    Entry("self_attn.q_a_layernorm.weight", ("attention.q_down_norm",),
          "flat"),
    Entry("self_attn.q_b_proj.weight", ("attention.q_up",)),
    Entry("self_attn.kv_a_proj_with_mqa.weight", ("attention.kv_down",)),
    Entry("self_attn.kv_a_layernorm.weight", ("attention.kv_norm",), "flat"),
    Entry("self_attn.kv_b_proj.weight", ("attention.k_up", "attention.v_up"),
          by_head=True),
    Entry("self_attn.o_proj.weight", ("attention.o",)),
    *_MLP, *_PRE_NORMS, *_EXPERTS,
    Entry("mlp.gate.e_score_correction_bias", ("moe.router_bias",), "flat"),
    *(Entry(f"mlp.shared_experts.{name}_proj.weight", (f"moe.shared.{name}",))
      for name in ("gate", "up", "down")))

GPT2 = Names(
    "transformer.", "h.",
    (Entry("wte.weight", ("embed.tokens",), "table"),
     Entry("wpe.weight", ("embed.positions",), "table"),
     *norm("ln_f", "final_norm")),
    (*linear("attn.c_attn", "attention.q", "attention.k", "attention.v",
             kind="conv"),
     *linear("attn.c_proj", "attention.o", kind="conv"),
     *linear("mlp.c_fc", "mlp.up", kind="conv"),
     *linear("mlp.c_proj", "mlp.down", kind="conv"),
     *norm("ln_1", "attention_norm"), *norm("ln_2", "mlp_norm")))
