"""One train step: exact accumulation, and the same losses on every mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_jax.config import MeshConfig, ModelConfig, OptimizerConfig
from llm_jax.model.params import init_params
from llm_jax.sharding import global_batch, make_mesh
from llm_jax.training.losses import Aux, language_model_loss
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import (
    TrainState, init_train_state, state_shardings, train_step)

B, T = 8, 16
MODEL = ModelConfig(vocab_size=64, embed_dim=32, num_layers=2, num_heads=4,
                    num_kv_heads=2, head_dim=8, mlp_dim=48, max_seq_len=T,
                    init_std=0.1)
MESHES = {
    "fsdp8": MeshConfig(data=1, fsdp=8),
    "fsdp4_tp2": MeshConfig(data=1, fsdp=4, tensor=2),
    "data2_fsdp2_tp2": MeshConfig(data=2, fsdp=2, tensor=2),
}


def make_batch(seed=0):
  """Packed rows; row i has about i/B of its targets under the mask."""
  rng = np.random.default_rng(seed)
  tokens = rng.integers(64, size=(B, T + 1)).astype(np.int32)
  border = rng.integers(1, T, size=(B, 1))
  times = np.arange(T)[None]
  mask = rng.random((B, T)) < np.linspace(0, 1, B)[:, None]
  return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:],
          "loss_mask": mask.astype(np.float32),
          "segment_ids": np.where(times < border, 1, 2).astype(np.int32),
          "positions": np.where(times < border, times,
                                times - border).astype(np.int32)}


optimizer_of = functools.cache(make_optimizer)


@functools.cache
def step_of(model, tx, num_microbatches=1, donate=False):
  loss_fn = functools.partial(language_model_loss, config=model)
  return jax.jit(functools.partial(
      train_step, loss_fn=loss_fn, tx=tx, num_microbatches=num_microbatches),
      donate_argnums=0 if donate else ())


@functools.cache
def full_batch_gradient():
  """d (Σ loss / Σ mask) / d params and the loss, float64, in one piece."""
  model = dataclasses.replace(MODEL, compute_dtype="float64",
                              param_dtype="float64")
  batch = make_batch()
  params = init_params(jax.random.key(0), model)

  def mean_loss(params):
    loss_sum, _ = language_model_loss(params, None, batch, 0, config=model)
    return loss_sum / batch["loss_mask"].sum()
  return model, params, jax.jit(jax.value_and_grad(mean_loss))(params)


@pytest.mark.parametrize("num_microbatches", [1, 2, 4])
def test_accumulated_gradient_is_the_full_batchs(num_microbatches):
  """In float64, to rounding, with microbatches of unequal weight."""
  with jax.enable_x64(True):
    model, params, (loss, gradient) = full_batch_gradient()
    # With rate 1 and no momentum the parameters move by the gradient itself.
    tx = optax.sgd(1.0)
    state = TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))
    batch = make_batch()
    after, metrics = step_of(model, tx, num_microbatches)(state, None, batch)
    # Row i goes to microbatch i mod m: no two have the same weight.
    weights = batch["loss_mask"].sum(1).reshape(-1, num_microbatches).sum(0)
    assert len(set(weights)) == num_microbatches
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-12)
    assert metrics["weight"] == batch["loss_mask"].sum()
    assert after.step == 1

    def check(before, after, gradient):
      assert after.dtype == jnp.float64
      np.testing.assert_allclose(before - after, gradient, rtol=1e-9,
                                 atol=1e-14)
      assert np.abs(gradient).max() > 1e-6
    jax.tree.map(check, params, after.params, gradient)
    np.testing.assert_allclose(metrics["grad_norm"],
                               optax.tree.norm(gradient), rtol=1e-12)


def test_metrics_are_divided_by_their_own_weights():
  def loss_fn(params, frozen, batch, step):
    x_B = batch["x"] * params["w"] + frozen["c"] * step
    return x_B.sum(), Aux(jnp.float32(x_B.size), {
        "positive": ((x_B * (x_B > 0)).sum(), (x_B > 0).sum())})
  tx = optax.sgd(0.5)
  params = {"w": jnp.float32(1.0)}
  for num_microbatches in (1, 2, 4):
    state = TrainState(jnp.int32(2), params, tx.init(params))
    state, metrics = train_step(
        state, {"c": jnp.float32(10.0)},
        {"x": jnp.array([-21.0, 3.0, -30.0, 7.0])}, loss_fn=loss_fn, tx=tx,
        num_microbatches=num_microbatches)
    # Values of the four rows: -1, 23, -10, 27.
    assert metrics["loss"] == pytest.approx(39 / 4)
    assert metrics["positive"] == pytest.approx(25.0)
    assert metrics["weight"] == 4
    # Mean of x is -41/4; the frozen part takes no gradient.
    assert state.params["w"] == pytest.approx(1 + 0.5 * 41 / 4)


def test_a_batch_of_no_weight_is_finite():
  tx = optax.sgd(0.1)
  state = init_train_state(jax.random.key(0), tx, MODEL)
  batch = make_batch() | {"loss_mask": np.zeros((B, T), np.float32)}
  after, metrics = step_of(MODEL, tx)(state, None, batch)
  assert metrics["loss"] == 0 and metrics["weight"] == 0
  jax.tree.map(np.testing.assert_array_equal, state.params, after.params)


@functools.cache
def trained(mesh_name, optimizer, num_microbatches=1):
  """Four steps: losses and gradient norms, shardings before, state after."""
  tx = optimizer_of(OptimizerConfig(
      name=optimizer, learning_rate=0.02, warmup_steps=2), 4, MODEL)
  step = step_of(MODEL, tx, num_microbatches, donate=True)

  def run(place):
    state = init_train_state(jax.random.key(7), tx, MODEL)
    before = jax.tree.map(lambda x: x.sharding, state)
    seen = []
    for i in range(4):
      state, metrics = step(state, None, place(make_batch(i)))
      seen.append([float(metrics["loss"]), float(metrics["grad_norm"])])
    return np.array(seen), before, state
  if not mesh_name:
    return run(lambda batch: batch)
  mesh = make_mesh(MESHES[mesh_name])
  with jax.set_mesh(mesh):
    return run(lambda batch: global_batch(batch, mesh, MODEL.rules))


@pytest.mark.parametrize("mesh_name,optimizer", [
    pytest.param("fsdp8", "adamw", marks=pytest.mark.slow),
    ("data2_fsdp2_tp2", "adamw"),
    pytest.param("fsdp4_tp2", "adamw", marks=pytest.mark.slow),
    pytest.param("fsdp8", "muon", marks=pytest.mark.slow),
    pytest.param("data2_fsdp2_tp2", "muon", marks=pytest.mark.slow)])
def test_every_mesh_has_the_losses_of_one_device(mesh_name, optimizer):
  expected, _, state = trained(None, optimizer)
  seen, _, sharded = trained(mesh_name, optimizer)
  assert expected[0, 0] - expected[-1, 0] > 0.01  # it learns something
  np.testing.assert_allclose(seen, expected, rtol=2e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3),
               sharded.params, state.params)


@pytest.mark.slow
def test_microbatches_on_a_mesh():
  """Two microbatches of four rows over four ways."""
  expected, _, _ = trained(None, "adamw")
  seen, _, _ = trained("fsdp4_tp2", "adamw", 2)
  np.testing.assert_allclose(seen, expected, rtol=2e-5)


@pytest.mark.parametrize("mesh_name,optimizer", [
    ("fsdp8", "adamw"), ("data2_fsdp2_tp2", "adamw"),
    pytest.param("fsdp8", "muon", marks=pytest.mark.slow),
    ("data2_fsdp2_tp2", "muon")])
@pytest.mark.slow
def test_moments_are_sharded_as_their_parameters(mesh_name, optimizer):
  """Told by the arrays themselves, when made and after (donated) steps."""
  _, before, state = trained(mesh_name, optimizer)
  ways = {"fsdp8": 8, "data2_fsdp2_tp2": 4}[mesh_name]
  params = dict(jax.tree_util.tree_leaves_with_path(state.params))
  shardings = dict(jax.tree_util.tree_leaves_with_path(before.opt_state))
  owners = []
  for path, moment in jax.tree_util.tree_leaves_with_path(state.opt_state):
    owner = [p for p in params if path[-len(p):] == p]
    if not owner:
      assert moment.size <= 3, path  # counts, Muon's coefficients
      continue
    owners.append(owner[0])
    param = params[owner[0]]
    for sharding in (shardings[path], moment.sharding):
      assert moment.shape == param.shape
      assert sharding.is_equivalent_to(param.sharding, param.ndim), path
    if owner[0][-1].key not in ("scale",):
      # Each device holds its part of it and no more.
      assert (moment.addressable_shards[0].data.size * ways
              == moment.size), path
  # AdamW has two of each; Muon has one of each matrix of a layer.
  for owner in params:
    is_muons = optimizer == "muon" and "layers" in str(owner[0]) and (
        owner[-1].key != "scale")
    assert owners.count(owner) == (1 if is_muons else 2), owner


def test_jit_of_init_alone_would_replicate():
  """Why `state_shardings` is needed; if this fails JAX has learnt it."""
  tx = optimizer_of(OptimizerConfig(), 10)
  mesh = make_mesh(MESHES["fsdp8"])
  with jax.set_mesh(mesh):
    state = init_train_state(jax.random.key(0), tx, MODEL)
    naive = jax.jit(tx.init)(state.params)
  sharded, replicated = (
      [x.sharding.is_fully_replicated for x in jax.tree.leaves(opt_state)
       if x.ndim > 2] for opt_state in (state.opt_state, naive))
  assert not any(sharded) and all(replicated)


def test_state_shardings_fit_the_state():
  for name in ("adamw", "muon", "lion", "adafactor"):
    tx = make_optimizer(OptimizerConfig(name=name), 10)
    state = jax.eval_shape(
        lambda key, tx=tx: init_train_state(key, tx, MODEL),
        jax.random.key(0))
    specs = state_shardings(tx, MODEL)
    fits = jax.tree.map(lambda spec, x: len(spec) <= x.ndim, specs, state)
    assert all(jax.tree.leaves(fits))


def test_factored_moments_are_split_as_what_is_left_of_their_parameter():
  model = dataclasses.replace(MODEL, embed_dim=128, mlp_dim=256)
  tx = make_optimizer(OptimizerConfig(name="adafactor"), 10)
  factored = state_shardings(tx, model).opt_state[1][0][0]
  spec = jax.sharding.PartitionSpec
  up = [tree["layers"][0]["mlp"]["up"]  # [layers, fsdp, tensor]
        for tree in (factored.v_row, factored.v_col, factored.v)]
  assert up == [spec(None, "fsdp"), spec(None, "tensor"), spec()]
