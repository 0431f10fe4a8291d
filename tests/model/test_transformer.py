"""The forward pass: causal, packed, scanned, recomputed, in every part."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ModelConfig
from llm_jax.model.params import init_params
from llm_jax.model.rotary import apply_rotary, rotary_angles
from llm_jax.model.transformer import (
    backbone, block, forward, rotary_of_kinds, unembed, unstack_layers)

LLAMA = ModelConfig(vocab_size=61, embed_dim=32, num_layers=2, num_heads=4,
                    num_kv_heads=2, head_dim=8, mlp_dim=48, max_seq_len=80,
                    tie_embeddings=False)
GPT2 = dataclasses.replace(
    LLAMA, num_kv_heads=4, norm="layernorm", position="learned", mlp="gelu",
    use_bias=True, tie_embeddings=True)
VARIANTS = {
    "llama": LLAMA,
    "gpt2": GPT2,
    "qk_norm": dataclasses.replace(LLAMA, qk_norm="head", tie_embeddings=True),
    "relu2": dataclasses.replace(LLAMA, mlp="relu2", num_kv_heads=1),
    "biased_swiglu": dataclasses.replace(LLAMA, use_bias=True),
}
VARIANT = pytest.mark.parametrize("name", VARIANTS)

run_forward = jax.jit(forward, static_argnames="config")


@functools.cache
def model(name):
  """Parameters of a variant, large enough for every part to matter."""
  config = dataclasses.replace(VARIANTS[name], init_std=0.3)
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(1), config)
  leaves, treedef = jax.tree.flatten(params)
  # Biases and scales start as constants, which would hide a swapped pair.
  rng = np.random.default_rng(2)
  leaves = [x + 0.1 * rng.normal(size=x.shape).astype(np.float32)
            for x in leaves]
  return treedef.unflatten(leaves), config


def tokens(B, T, seed=0):
  return jnp.asarray(
      np.random.default_rng(seed).integers(61, size=(B, T)), jnp.int32)


def oracle(params, tokens_T, config):
  """One document in NumPy, float64, token by token and head by head."""
  f64 = functools.partial(jax.tree.map, lambda x: np.asarray(x, np.float64))
  params = f64(unstack_layers(params))
  H, G = config.head_dim, config.num_heads // config.num_kv_heads
  T = len(tokens_T)

  def norm(x, p):
    if config.norm == "layernorm":
      x = x - x.mean(-1, keepdims=True)
      x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config.norm_eps)
      return x * p["scale"] + p["bias"]
    rms = np.sqrt((x * x).mean(-1, keepdims=True) + config.norm_eps)
    return x / rms * p["scale"]

  def rotate(x, position):
    if config.position != "rope":
      return x
    out = np.empty(H)
    for i in range(H // 2):
      angle = position * config.rope_theta ** (-2 * i / H)
      a, b = x[i], x[i + H // 2]
      out[i] = a * np.cos(angle) - b * np.sin(angle)
      out[i + H // 2] = b * np.cos(angle) + a * np.sin(angle)
    return out

  x = params["embed"]["tokens"][np.asarray(tokens_T)]
  if config.position == "learned":
    x = x + params["embed"]["positions"][:T]
  for layer in params["layers"][0]:
    p, h = layer["attention"], norm(x, layer["attention_norm"])
    q, k, v = (np.einsum("td,dnh->tnh", h, p[n]) + p.get(n + "_bias", 0)
               for n in "qkv")
    if config.qk_norm != "none":
      q, k = (norm(y, {"scale": p[n]}) for y, n in ((q, "q_norm"),
                                                     (k, "k_norm")))
    update = np.zeros_like(x)
    for t in range(T):
      for n in range(config.num_heads):
        scores = np.array([rotate(k[s, n // G], s) @ rotate(q[t, n], t)
                           for s in range(t + 1)]) / np.sqrt(H)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        update[t] += weights @ v[:t + 1, n // G] @ p["o"][n]
    x = x + update + p.get("o_bias", 0)
    p, h = layer["mlp"], norm(x, layer["mlp_norm"])
    up = h @ p["up"] + p.get("up_bias", 0)
    if config.mlp == "swiglu":
      gate = h @ p["gate"] + p.get("gate_bias", 0)
      hidden = gate / (1 + np.exp(-gate)) * up
    elif config.mlp == "gelu":
      hidden = 0.5 * up * (1 + np.tanh(
          np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
    else:
      hidden = np.maximum(up, 0) ** 2
    x = x + hidden @ p["down"] + p.get("down_bias", 0)
  x = norm(x, params["final_norm"])
  return x @ (params["embed"]["tokens"].T if config.tie_embeddings
              else params["head"]["kernel"])


@VARIANT
def test_packed_documents_are_separate_documents_are_numpys(name):
  params, config = model(name)
  lengths, T = (5, 9, 1, 6), 24  # three places of padding
  ids = np.asarray(tokens(1, T))[0]
  segments, positions = np.zeros(T, np.int32), np.zeros(T, np.int32)
  alone_BT = np.zeros((4, 9), np.int32)
  ends = np.cumsum(lengths)
  for i, (end, length) in enumerate(zip(ends, lengths)):
    segments[end - length:end] = i + 1
    positions[end - length:end] = np.arange(length)
    # By itself; what stands right of its end is not read.
    alone_BT[i, :length] = ids[end - length:end]
  packed_BTV, aux = run_forward(params, ids[None], config,
                                segment_ids_BT=segments[None],
                                positions_BT=positions[None])
  assert packed_BTV.shape == (1, T, 61) and packed_BTV.dtype == jnp.float32
  assert not aux
  alone_BTV, _ = run_forward(params, alone_BT, config)
  for i, (end, length) in enumerate(zip(ends, lengths)):
    np.testing.assert_allclose(packed_BTV[0, end - length:end],
                               alone_BTV[i, :length], rtol=1e-4, atol=1e-4)
    expected_TV = oracle(params, alone_BT[i, :length], config)
    np.testing.assert_allclose(alone_BTV[i, :length], expected_TV, rtol=1e-4,
                               atol=1e-4 * np.abs(expected_TV).max())


def test_without_segments_a_document_reads_the_one_before():
  """The mask is what keeps them apart, not the positions."""
  params, config = model("llama")
  segments_BT = np.array([[1] * 5 + [2] * 4], np.int32)
  positions_BT = np.array([[*range(5), *range(4)]], np.int32)
  apart_BTV, leaking_BTV = (
      run_forward(params, tokens(1, 9), config, positions_BT=positions_BT,
                  segment_ids_BT=ids)[0] for ids in (segments_BT, None))
  np.testing.assert_allclose(apart_BTV[:, :5], leaking_BTV[:, :5], atol=1e-4)
  assert np.abs(apart_BTV - leaking_BTV)[:, 5:].max() > 1e-2


def reach(params, tokens_BT, config, places, segment_ids_BT=None):
  """|∂ logits_t / ∂ embedding_s|, [T], for each t of `places`.

  The embedding is reached through a token table in which place s of the row
  has a row of its own.
  """
  T = tokens_BT.shape[1]
  rows_TD = params["embed"]["tokens"][tokens_BT[0]]

  def logit(rows_TD, t):
    embed = {**params["embed"], "tokens": rows_TD}
    hidden_BTD, _, _ = backbone({**params, "embed": embed},
                                jnp.arange(T, dtype=jnp.int32)[None], config,
                                segment_ids_BT=segment_ids_BT)
    # The head of the model itself: a tied one must not be the row table.
    logits_BTV = unembed(params, hidden_BTD, config)
    return jnp.sum(jnp.sin(logits_BTV[0, t]))  # sin: no cancelling sum
  gradient = jax.jit(jax.grad(logit))
  return {t: np.abs(gradient(rows_TD, t)).sum(1) for t in places}


@pytest.mark.parametrize("name,attention", [
    ("llama", "auto"), ("gpt2", "auto"), ("llama", "reference"),
    ("llama", "jax")])
def test_causality_by_gradient(name, attention):
  params, config = model(name)
  config = dataclasses.replace(config, attention=attention)
  for t, reached_T in reach(params, tokens(1, 9), config, (0, 4, 8)).items():
    assert np.all(reached_T[:t + 1] > 1e-6), reached_T
    assert np.all(reached_T[t + 1:] == 0), reached_T


@pytest.mark.parametrize("attention", ["reference", "blockwise", "jax"])
def test_gradient_stays_within_the_document(attention):
  params, config = model("llama")
  config = dataclasses.replace(config, attention=attention)
  segments_BT = jnp.array([[1, 1, 1, 2, 2, 2, 2, 3, 0]])
  readable = {2: (0, 1, 2), 5: (3, 4, 5), 6: (3, 4, 5, 6), 7: (7,)}
  reached = reach(params, tokens(1, 9), config, readable, segments_BT)
  assert {t: tuple(np.flatnonzero(reached_T))
          for t, reached_T in reached.items()} == readable


@functools.cache
def loss_and_gradient(name, **changes):
  params, config = model(name)
  config = dataclasses.replace(config, **changes)
  tokens_BT = tokens(2, 12)

  def loss(params):
    logits_BTV, _ = forward(params, tokens_BT, config)
    return jnp.mean(jax.nn.logsumexp(logits_BTV, -1) - logits_BTV[..., 3])
  return jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.parametrize("name,changes", [
    ("llama", {"scan_layers": False}), ("llama", {"remat": "full"}),
    ("llama", {"remat": "full", "scan_layers": False}),
    ("gpt2", {"scan_layers": False, "remat": "full"})])
def test_ways_to_run_agree(name, changes):
  want, got = loss_and_gradient(name), loss_and_gradient(name, **changes)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4,
                                 atol=1e-5), got, want)
  assert float(np.abs(want[1]["layers"][0]["attention"]["q"]).max()) > 1e-4


@pytest.mark.parametrize("scan_layers", [True, False])
def test_a_scanned_program_does_not_grow_with_depth(scan_layers):
  def operations(num_layers):
    config = dataclasses.replace(LLAMA, num_layers=num_layers,
                                 scan_layers=scan_layers)
    params = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
    program = jax.make_jaxpr(lambda p: forward(p, tokens(1, 8), config))(params)
    return str(program).count("dot_general")
  assert (operations(6) == operations(2)) == scan_layers


def test_remat_saves_no_activations_of_a_layer():
  def saved_bytes(remat):
    params, config = model("llama")
    config = dataclasses.replace(config, remat=remat)
    def loss(params):
      return forward(params, tokens(2, 64), config)[0].sum()
    step = jax.jit(jax.grad(loss)).lower(params).compile()
    return step.memory_analysis().temp_size_in_bytes
  assert saved_bytes("full") < 0.8 * saved_bytes("none")


def test_unstacked_parameters_are_the_same_model():
  params, config = model("qk_norm")
  unstacked = unstack_layers(params)
  assert isinstance(unstacked["layers"][0], tuple)
  again = unstack_layers(unstacked)
  assert again["layers"][0] is unstacked["layers"][0]
  np.testing.assert_allclose(
      run_forward(unstacked, tokens(2, 8), config)[0],
      run_forward(params, tokens(2, 8), config)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
@pytest.mark.slow
def test_compute_dtypes(dtype):
  params, config = model("llama")
  exact_BTV, _ = run_forward(params, tokens(2, 12), config)
  with jax.enable_x64(dtype == "float64"):
    config = dataclasses.replace(config, compute_dtype=dtype)
    hidden_BTD, _, _ = backbone(params, tokens(2, 12), config)
    logits_BTV = unembed(params, hidden_BTD, config)
    assert hidden_BTD.dtype == dtype
    assert logits_BTV.dtype == ("float64" if dtype == "float64" else "float32")
    error = np.abs(np.asarray(logits_BTV) - np.asarray(exact_BTV))
    scale = np.abs(exact_BTV).max()
    assert error.max() < (0.1 if dtype == "bfloat16" else 1e-5) * scale


def test_a_batch_row_is_independent_of_the_others():
  params, config = model("gpt2")
  both_BTV, _ = run_forward(params, tokens(2, 8), config)
  one_BTV, _ = run_forward(params, tokens(2, 8)[1:], config)
  np.testing.assert_allclose(both_BTV[1:], one_BTV, rtol=1e-5, atol=1e-5)


def test_rotary_depends_on_distance_only():
  """⟨rotate(q, i), rotate(k, j)⟩ is a function of i - j (RoFormer, eq. 11)."""
  q, k = (jax.random.normal(jax.random.key(i), (1, 1, 1, 8)) for i in (0, 1))
  def score(i, j):
    turned = [apply_rotary(x, *rotary_angles(
        jnp.array([[p]]), LLAMA)) for x, p in ((q, i), (k, j))]
    return float(jnp.vdot(*turned))
  np.testing.assert_allclose(score(9, 4), score(6, 1), rtol=1e-5)
  assert abs(score(9, 4) - score(9, 5)) > 1e-3


def test_block_adds_to_the_residual_stream():
  """Where both output projections are zero a block is the identity."""
  params, config = model("llama")
  layer = unstack_layers(params)["layers"][0][0]
  zeroed = {**layer,
            "attention": {**layer["attention"],
                          "o": jnp.zeros_like(layer["attention"]["o"])},
            "mlp": {**layer["mlp"],
                    "down": jnp.zeros_like(layer["mlp"]["down"])}}
  x_BTD = jax.random.normal(jax.random.key(0), (2, 5, 32))
  positions_BT = jnp.broadcast_to(jnp.arange(5)[None], (2, 5))
  rotary = rotary_of_kinds(positions_BT, config)
  out_BTD, _, _ = block(x_BTD, zeroed, rotary, None, positions_BT, None,
                        "global", config)
  np.testing.assert_array_equal(out_BTD, x_BTD)
