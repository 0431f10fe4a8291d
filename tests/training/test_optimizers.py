"""Schedules and optimisers against values computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_jax.config import (
    ConfigError, ModelConfig, OptimizerConfig)
from llm_jax.model.params import is_spec, param_specs
from llm_jax.training.optimizers import (
    check_factors, decay_mask, lr_factor, make_optimizer, make_schedule)

MODEL = ModelConfig(vocab_size=20, embed_dim=8, num_layers=2, num_heads=2,
                    num_kv_heads=1, head_dim=4, mlp_dim=12, max_seq_len=8,
                    norm="layernorm", position="learned", use_bias=True,
                    qk_norm="head", tie_embeddings=False)


def values(seed):
  """A tree of arrays of the model's shapes."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda spec: rng.normal(size=spec.shape).astype(np.float32),
      param_specs(MODEL), is_leaf=is_spec)


def rates(config, num_steps):
  schedule = make_schedule(config, num_steps)
  return [float(schedule(step)) for step in range(num_steps + 1)]


def test_warmup_rises_from_its_first_part_to_the_peak():
  config = OptimizerConfig(learning_rate=1.0, warmup_steps=4,
                           schedule="constant")
  np.testing.assert_allclose(rates(config, 9),
                             [0.25, 0.5, 0.75, 1] + [1.0] * 6, rtol=1e-6)


def test_cosine():
  config = OptimizerConfig(learning_rate=2.0, warmup_steps=2,
                           schedule="cosine", final_learning_rate=0.1)
  # Half a cosine from 2.0 to 0.2 over the eight steps after warm-up.
  half = [0.2 + 1.8 * (1 + np.cos(np.pi * i / 8)) / 2 for i in range(9)]
  np.testing.assert_allclose(rates(config, 10), [1.0, 2.0, *half], rtol=1e-6)
  np.testing.assert_allclose(rates(config, 10)[6], 1.1, rtol=1e-6)


def test_wsd_holds_then_falls_linearly():
  config = OptimizerConfig(learning_rate=1.0, warmup_steps=2, schedule="wsd",
                           decay_fraction=0.4, final_learning_rate=0.2)
  np.testing.assert_allclose(
      rates(config, 10), [0.5, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2],
      rtol=1e-5)


@pytest.mark.parametrize("final", [0.0, 0.5])
def test_linear_falls_to_its_end(final):
  config = OptimizerConfig(learning_rate=2.0, warmup_steps=2,
                           schedule="linear", final_learning_rate=final)
  np.testing.assert_allclose(
      rates(config, 10),
      [1.0, 2.0, *(2 - 2 * (1 - final) * i / 8 for i in range(9))], atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "linear", "constant"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7])
def test_a_run_shorter_than_its_warmup_reaches_the_peak(schedule, num_steps):
  config = OptimizerConfig(learning_rate=1.0, warmup_steps=50,
                           schedule=schedule, decay_fraction=0.0)
  values = rates(config, num_steps)
  assert max(values) == pytest.approx(1.0) and min(values[:-1]) > 0


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
def test_no_warmup_starts_at_the_peak(schedule):
  config = OptimizerConfig(learning_rate=1.0, warmup_steps=0,
                           schedule=schedule)
  assert rates(config, 10)[0] == pytest.approx(1.0)


def test_weight_decay_is_for_matrices():
  params = param_specs(MODEL)
  flat = {jax.tree_util.keystr(path, simple=True, separator="."): decays
          for path, decays in
          jax.tree_util.tree_leaves_with_path(decay_mask(params))}
  not_decayed = {name for name, decays in flat.items() if not decays}
  layer = {"attention_norm.scale", "attention_norm.bias", "mlp_norm.scale",
           "mlp_norm.bias", "attention.q_bias", "attention.k_bias",
           "attention.v_bias", "attention.o_bias", "attention.q_norm",
           "attention.k_norm", "mlp.up_bias", "mlp.down_bias",
           "mlp.gate_bias"}
  assert not_decayed == {f"layers.0.{n}" for n in layer} | {
      "final_norm.scale", "final_norm.bias"}
  assert len(flat) == len(layer) + 2 + 10  # and ten tensors that are matrices


def test_weight_decay_is_decoupled():
  """With no gradient a matrix shrinks by lr · decay, a scale stays."""
  for name in ("adamw", "muon"):
    config = OptimizerConfig(name=name, learning_rate=0.1, warmup_steps=0,
                             schedule="constant", weight_decay=0.5)
    params = values(0)
    tx = make_optimizer(config, 10)
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = jax.jit(tx.update)(zeros, tx.init(params), params)
    jax.tree.map(lambda u, p, decays: np.testing.assert_allclose(
        u, -0.05 * p if decays else 0 * p, rtol=1e-5, atol=1e-8),
        updates, params, decay_mask(params))


def adamw(params, gradients, config, steps):
  """AdamW (Loshchilov and Hutter 2019, algorithm 2) in NumPy, float64."""
  x, m, v = params.astype(np.float64), 0.0, 0.0
  for t in range(1, steps + 1):
    g = gradients[t - 1].astype(np.float64)
    m = config.b1 * m + (1 - config.b1) * g
    v = config.b2 * v + (1 - config.b2) * g * g
    step = (m / (1 - config.b1**t)) / (
        np.sqrt(v / (1 - config.b2**t)) + config.eps)
    x = x - config.learning_rate * (step + config.weight_decay * x)
  return x


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_adamw_equals_numpy(clip_norm):
  config = OptimizerConfig(learning_rate=0.03, warmup_steps=0,
                           schedule="constant", weight_decay=0.2,
                           clip_norm=clip_norm)
  rng = np.random.default_rng(0)
  start = {"kernel": rng.normal(size=(4, 3)).astype(np.float32)}
  gradients = [rng.normal(size=(4, 3)).astype(np.float32) for _ in range(4)]
  tx, params = make_optimizer(config, 10), start
  state = tx.init(params)
  for gradient in gradients:
    updates, state = tx.update({"kernel": gradient}, state, params)
    params = jax.tree.map(jnp.add, params, updates)
  if clip_norm:
    assert np.linalg.norm(gradients[0]) > clip_norm
    gradients = [g * min(1, clip_norm / np.linalg.norm(g)) for g in gradients]
  np.testing.assert_allclose(
      params["kernel"], adamw(start["kernel"], gradients, config, 4),
      rtol=1e-5)


def test_muon_makes_updates_orthogonal_for_each_layer():
  """Singular values of an update are near equal; AdamW's are not."""
  params, gradients = values(0), values(1)
  updates = {}
  for name in ("muon", "adamw"):
    config = OptimizerConfig(name=name, learning_rate=1.0, warmup_steps=0,
                             schedule="constant", weight_decay=0.0)
    tx = make_optimizer(config, 10)
    updates[name], _ = jax.jit(tx.update)(gradients, tx.init(params), params)

  def spread(update_RC):
    values = np.linalg.svd(update_RC, compute_uv=False)
    return values.max() / values.min()
  # Rows and columns of each matrix, heads flattened into it.
  for group, name, shape in (("attention", "q", (8, 8)),
                             ("attention", "k", (8, 4)),
                             ("attention", "o", (8, 8)),
                             ("mlp", "up", (8, 12)), ("mlp", "down", (12, 8))):
    for i in range(2):
      update = {k: np.reshape(u["layers"][0][group][name][i], shape)
                for k, u in updates.items()}
      assert spread(update["muon"]) < 2.0, (group, name, i)
      # The same direction in expectation, and a size of the same order, so
      # that one learning rate does for both.
      assert np.vdot(update["muon"], update["adamw"]) > 0
      rms = {k: np.sqrt(np.mean(u**2)) for k, u in update.items()}
      assert 0.1 < rms["muon"] / rms["adamw"] < 1.0
  assert spread(updates["adamw"]["layers"][0]["attention"]["q"][0].reshape(
      8, 8)) > 3
  # Embeddings, head, scales and biases are AdamW's, with Nesterov's momentum:
  # at the first step 1 + b1 / (1 + b1) times as far.
  for path in (("embed", "tokens"), ("head", "kernel"),
               ("final_norm", "scale")):
    one, other = updates["muon"], updates["adamw"]
    for name in path:
      one, other = one[name], other[name]
    np.testing.assert_allclose(one, other * (1 + 0.9 / 1.9), rtol=1e-3)


# A few small tensors by themselves: nothing here needs a model.
TREE = {"embed": {"tokens": (5, 4)}, "final_norm": {"scale": (4,)},
        "head": {"kernel": (4, 5)}}


def small(seed):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda shape: rng.normal(size=shape).astype(np.float32),
                      TREE, is_leaf=lambda x: isinstance(x, tuple))


def walk(tx, steps=3):
  """Parameters after some steps, and the optimiser's state."""
  params, update = small(0), jax.jit(tx.update)
  state = tx.init(params)
  for step in range(steps):
    updates, state = update(small(1 + step), state, params)
    params = jax.tree.map(jnp.add, params, updates)
  return params, state


PLAIN = {"learning_rate": 0.02, "warmup_steps": 0, "schedule": "constant",
         "weight_decay": 0.3, "clip_norm": 0.0}


def test_lion_equals_optax():
  config = OptimizerConfig(name="lion", b1=0.95, b2=0.98, **PLAIN)
  wanted = optax.lion(0.02, 0.95, 0.98, weight_decay=0.3, mask=decay_mask)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
               walk(make_optimizer(config, 10))[0], walk(wanted)[0])


def test_adafactor_equals_optax():
  config = OptimizerConfig(name="adafactor", **{**PLAIN, "weight_decay": 0.0})
  wanted = optax.adafactor(0.02, multiply_by_parameter_scale=False)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
               walk(make_optimizer(config, 10))[0], walk(wanted)[0])


def test_adafactor_keeps_a_row_and_a_column_of_a_large_matrix():
  tx = make_optimizer(OptimizerConfig(name="adafactor"), 10)
  state = jax.eval_shape(tx.init, {"head": {"kernel": jnp.zeros((256, 512))}})
  floats = [x.size for x in jax.tree.leaves(state)
            if x.dtype == jnp.float32]
  assert 256 + 512 <= sum(floats) < 800


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "adafactor"])
def test_bfloat16_moments_are_half_as_large_and_do_the_same(name):
  configs = [OptimizerConfig(name=name, moments_dtype=dtype, **PLAIN)
             for dtype in ("float32", "bfloat16")]
  (full, full_state), (half, half_state) = (
      walk(make_optimizer(config, 10)) for config in configs)

  def size(state):
    return sum(x.nbytes for x in jax.tree.leaves(state)
               if jnp.issubdtype(x.dtype, jnp.floating))
  assert size(half_state) * 2 == size(full_state) > 0
  start = small(0)
  for a, b, s in zip(*map(jax.tree.leaves, (full, half, start)), strict=True):
    moved = np.sqrt(np.mean((np.asarray(a) - s)**2))
    # Lion takes signs, a few of which may turn; the others are near.
    off = np.sqrt(np.mean((np.asarray(a) - np.asarray(b))**2))
    assert off < (0.5 if name == "lion" else 0.03) * moved


def test_moments_of_bfloat16_parameters_are_float32_unless_asked():
  tx = make_optimizer(OptimizerConfig(), 10)
  state = jax.eval_shape(tx.init, {"head": {"kernel": jnp.zeros(
      (4, 4), jnp.bfloat16)}})
  assert {x.dtype for x in jax.tree.leaves(state) if x.ndim} == {
      jnp.dtype(jnp.float32)}


def test_slow_moments_need_float32():
  with pytest.raises(ConfigError, match="optimizer.b2=0.999"):
    OptimizerConfig(b2=0.999, moments_dtype="bfloat16").validate()


def test_factors_multiply_learning_rate_and_decay():
  factors = ("embed:0.5", "tokens$:0.5", "scale:0")
  config = OptimizerConfig(lr_factors=factors, **PLAIN)
  plain = make_optimizer(OptimizerConfig(**PLAIN), 10)
  tx, params, grads = make_optimizer(config, 10), small(0), small(1)
  ours, _ = tx.update(grads, tx.init(params), params)
  base, _ = plain.update(grads, plain.init(params), params)
  for (part, name), factor in {("embed", "tokens"): 0.25,
                               ("final_norm", "scale"): 0.0,
                               ("head", "kernel"): 1.0}.items():
    np.testing.assert_allclose(ours[part][name], factor * base[part][name],
                               rtol=1e-6)
    assert lr_factor(config, f"{part}.{name}") == factor


def test_a_factor_for_no_parameter_is_refused_with_near_paths():
  specs = param_specs(MODEL)
  for pattern in ("embed", r"layers\.0\.attention\.[qk]$", "norm"):
    check_factors(OptimizerConfig(lr_factors=(f"{pattern}:0.1",)), specs)
  with pytest.raises(ConfigError, match=r"head\.kernel"):
    check_factors(OptimizerConfig(lr_factors=("head.kernal:0.1",)), specs)
