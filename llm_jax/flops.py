"""Floating-point operations of a model, and what a device could do at best."""

from __future__ import annotations

from llm_jax.config import ModelConfig

# Peak bfloat16 operations per second of one device, dense, as the makers state
# them. The first name that the device kind contains wins, so the special comes
# before the general. JAX calls v5e "TPU v5 lite", v6e "TPU v6 lite" and v5p
# "TPU v5".
_PEAK_FLOPS = (
    ("TPU v6 lite", 918e12), ("TPU v6e", 918e12),
    ("TPU v5 lite", 197e12), ("TPU v5e", 197e12),
    ("TPU v5", 459e12),
    ("TPU v4", 275e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989e12),
    ("A100", 312e12),
)


def matmul_parameters(config: ModelConfig) -> int:
  """Weights that every token is multiplied by.

  Attention and MLP projections and the head; of routed experts those that a
  token visits. The head counts whether or not it is tied to the embedding, the
  lookup in the embedding does not.
  """
  D, N, K, H = (config.embed_dim, config.num_heads, config.num_kv_heads,
                config.head_dim)
  latent, moe = config.latent, config.moe
  if latent.kv_rank:
    qk = latent.nope_dim + latent.rope_dim
    attention = (D * latent.q_rank + latent.q_rank * N * qk if latent.q_rank
                 else D * N * qk)
    attention += D * (latent.kv_rank + latent.rope_dim)
    attention += latent.kv_rank * N * (latent.nope_dim + latent.v_dim)
    attention += N * latent.v_dim * D
  else:
    attention = D * N * H + 2 * D * K * H + N * H * D
  kernels = D * (3 if config.mlp in ("swiglu", "geglu") else 2)
  dense = kernels * config.mlp_dim
  experts = (kernels * (moe.experts_per_token * moe.mlp_dim + moe.shared_dim)
             + D * moe.num_experts)
  num_dense = moe.first_dense if moe.num_experts else config.num_layers
  return (config.num_layers * attention + num_dense * dense
          + (config.num_layers - num_dense) * experts + config.vocab_size * D)


def flops_per_token(config: ModelConfig, seq_len: int) -> float:
  """Operations of one training step per token, forwards and backwards.

  6 · matmul parameters + 6 · Σ_layers N·H·S: a multiply and an add per weight,
  once forwards and twice backwards (Kaplan et al. 2020, section 2.1); and the
  two products of attention, which PaLM (Chowdhery et al. 2022, appendix B)
  counts as 12 · L·N·H·T and we count half, as causal attention needs half of
  them. So our MFU is a little below PaLM's way of counting. S is T, in local
  layers the mean number of keys in the window, doubled. Recomputation (remat)
  is not counted, and neither are norms, softmax or the optimiser.

  Args:
    config: the model.
    seq_len: tokens in a row (T).
  """
  latent, window = config.latent, min(config.window, seq_len)
  # Keys that a query sees on average, times two: as T without a window.
  local = 2 * window - window * window / seq_len
  keys = sum(local if config.layer_kind(layer).startswith("local")
             else seq_len for layer in range(config.num_layers))
  head_dim = config.head_dim
  if latent.kv_rank:
    head_dim = (latent.nope_dim + latent.rope_dim + latent.v_dim) / 2
  return (6.0 * matmul_parameters(config)
          + 6.0 * config.num_heads * head_dim * keys)


def peak_flops(device_kind: str) -> float | None:
  """Peak bfloat16 operations per second of a device, None if not known.

  Args:
    device_kind: `jax.Device.device_kind`, such as "TPU v5 lite".
  """
  for name, peak in _PEAK_FLOPS:
    if name.lower() in device_kind.lower():
      return peak
  return None
