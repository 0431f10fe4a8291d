"""Steps that are skipped, averages of parameters, and norms of layers."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_jax.config import (
    ConfigError, LoggingConfig, MeshConfig, ModelConfig, OptimizerConfig,
    PretrainConfig)
from llm_jax.metrics import MetricLogger, numbers
from llm_jax.model.params import is_spec, param_specs
from llm_jax.sharding import make_mesh
from llm_jax.training.losses import Aux
from llm_jax.training.norms import layer_norms, tree_norm
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.step_guard import StepGuard
from llm_jax.training.train_step import (
    fresh_state, init_train_state, state_shardings, train_step)

MODEL = ModelConfig(vocab_size=24, embed_dim=8, num_layers=3, num_heads=2,
                    num_kv_heads=1, head_dim=4, mlp_dim=16, max_seq_len=8)


def loss_fn(params, frozen, batch, step):
  """Rows of x times w; nan where x is."""
  loss_B = batch["x"] * jnp.sum(params["w"] ** 2) + params["z"]
  return loss_B.sum(), Aux(jnp.float32(loss_B.size))


def start(tx, ema=True):
  # A negative zero: adding an update of nothing would turn it into a zero.
  return fresh_state({"w": jnp.array([3.0, -0.0, 1.0]), "z": jnp.float32(-0.0)},
                     tx, ema=ema)


def batch(value):
  return {"x": jnp.array([1.0, value])}


def bits(tree):
  return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_step_that_is_not_finite_changes_nothing(bad):
  """1e30 gives a finite loss, whose gradient's norm overflows."""
  tx = optax.adam(0.1)
  step = jax.jit(functools.partial(train_step, loss_fn=loss_fn, tx=tx,
                                   ema_decay=0.9, layer_norms=True))
  state = start(tx)
  state, metrics = step(state, None, batch(2.0))
  assert metrics["skipped"] == 0 and metrics["update_norm"] > 0
  state, metrics = step(state, None, batch(1.0))
  before = bits((state.params, state.opt_state, state.extra["ema"]))
  for i in range(1, 4):
    state, metrics = step(state, None, batch(bad))
    assert bits((state.params, state.opt_state, state.extra["ema"])) == before
    assert metrics["skipped"] == metrics["skipped_in_a_row"] == i
    assert metrics["update_norm"] == 0
    assert state.step == 2 + i  # the next batch has its turn
  if bad == 1e30:
    assert np.isfinite(metrics["loss"])
  state, metrics = step(state, None, batch(2.0))
  assert bits((state.params, state.opt_state, state.extra["ema"])) != before
  assert metrics["skipped"] == 3 and metrics["skipped_in_a_row"] == 0
  np.testing.assert_allclose(metrics["param_norm"],
                             optax.tree.norm(state.params), rtol=1e-6)


def test_average_is_the_weighted_mean_of_the_values_after_each_step():
  """Σ d^(t-i) p_i / Σ d^(t-i); neither the start nor a skipped step counts."""
  tx, decay = optax.sgd(0.01), 0.8
  step = jax.jit(functools.partial(train_step, loss_fn=loss_fn, tx=tx,
                                   ema_decay=decay))
  state, values = start(tx), []
  np.testing.assert_array_equal(state.averaged["w"], state.params["w"])
  for x in (1.0, 2.0, np.nan, -1.0, 0.5):
    state, _ = step(state, None, batch(x))
    if np.isfinite(x):
      values.append(np.asarray(state.params["w"], np.float64))
    weights = decay ** np.arange(len(values))[::-1]
    expected = np.tensordot(weights, values, 1) / weights.sum()
    np.testing.assert_allclose(state.averaged["w"], expected, rtol=1e-6)
  assert np.abs(np.asarray(state.averaged["w"]) - values[-1]).max() > 0.01


def test_average_of_bfloat16_is_float32():
  tx = optax.sgd(0.01)
  params = {"w": jnp.ones(3, jnp.bfloat16), "z": jnp.bfloat16(0)}
  state, _ = train_step(fresh_state(params, tx, ema=True), None, batch(1.0),
                        loss_fn=loss_fn, tx=tx, ema_decay=0.999)
  assert state.extra["ema"]["w"].dtype == jnp.float32
  assert state.params["w"].dtype == jnp.bfloat16


def test_a_state_without_counts_or_average_stays_so():
  tx = optax.sgd(0.1)
  state = start(tx, ema=False).replace(extra={})
  after, metrics = train_step(state, None, batch(np.nan), loss_fn=loss_fn,
                              tx=tx)
  assert after.extra == {} and "skipped" not in metrics
  assert bits(after.params) == bits(state.params)
  assert after.averaged is after.params


def test_average_and_counts_are_split_as_they_should_be():
  tx = make_optimizer(OptimizerConfig(), 10)
  mesh = make_mesh(MeshConfig(data=1, fsdp=8))
  with jax.set_mesh(mesh):
    state = init_train_state(jax.random.key(0), tx, MODEL, ema=True)
  specs = state_shardings(tx, MODEL, ema=True)
  assert jax.tree.structure(specs) == jax.tree.structure(state)
  jax.tree.map(lambda a, p: np.testing.assert_equal(
      a.sharding.is_equivalent_to(p.sharding, p.ndim), True),
      state.extra["ema"], state.params)
  assert state.extra["ema"]["layers"][0]["mlp"]["up"].addressable_shards[
      0].data.shape == (3, 1, 16)
  assert state.extra["skipped"].sharding.is_fully_replicated


def test_donation_leaves_no_second_state():
  """All of the state is reused, and the choice of what to keep costs nothing:
  no temporary is as large as a copy of the moments."""
  tx, size = optax.adam(0.1), 1 << 20

  def quadratic(params, frozen, batch, step):
    return jnp.sum(params["w"] ** 2), Aux(jnp.float32(1))
  state = jax.eval_shape(
      lambda: fresh_state({"w": jnp.ones(size)}, tx, ema=True))
  step = jax.jit(functools.partial(train_step, loss_fn=quadratic, tx=tx,
                                   ema_decay=0.9), donate_argnums=0)
  memory = step.lower(state, None, {}).compile().memory_analysis()
  assert memory.alias_size_in_bytes >= 4 * 4 * size
  # The gradient, and what the sums of squares are taken of.
  assert memory.temp_size_in_bytes <= 2 * 4 * size + 4096


def params_like():
  rng = np.random.default_rng(3)
  return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32),
                      param_specs(MODEL), is_leaf=is_spec)


def test_norms_of_layers_are_those_of_their_slices():
  tree = params_like()
  vectors = layer_norms("grad_norm", tree)
  assert vectors["grad_norm/layers.0-2.attention.q"].shape == (3,)
  found = numbers(vectors)
  for i in range(3):
    layer = jax.tree.map(lambda x, i=i: x[i], tree["layers"][0])
    for group, names in (("attention", "qkvo"), ("mlp", ("up", "down"))):
      for name in names:
        np.testing.assert_allclose(
            found[f"grad_norm/layers.{i}.{group}.{name}"],
            optax.tree.norm(layer[group][name]), rtol=1e-6)
  np.testing.assert_allclose(found["grad_norm/embed.tokens"],
                             optax.tree.norm(tree["embed"]), rtol=1e-6)
  assert len(found) == 3 * 9 + 2
  # Together they are the norm of the whole.
  np.testing.assert_allclose(np.linalg.norm(list(found.values())),
                             optax.tree.norm(tree), rtol=1e-6)
  np.testing.assert_allclose(tree_norm(tree), optax.tree.norm(tree), rtol=1e-6)


def test_layers_of_a_second_group_are_counted_on():
  vectors = layer_norms("u", {"layers": [
      {"mlp": {"up": jnp.ones((1, 4))}},
      {"moe": {"up": 3 * jnp.ones((2, 4))}}]})
  assert numbers(vectors) == {"u/layers.0.mlp.up": 2, "u/layers.1.moe.up": 6,
                              "u/layers.2.moe.up": 6}


def test_steps_that_are_skipped_stop_the_run(tmp_path, capsys):
  """After max_skipped in a row, with one sentence that says what to do; the
  metrics of all steps are in the file by then."""
  config = PretrainConfig(
      workdir=str(tmp_path), num_steps=100, seed=5,
      optimizer=OptimizerConfig(max_skipped=3),
      logging=LoggingConfig(every=1, tensorboard=False, layer_norms=True))
  tx = optax.sgd(0.01)
  step_fn = jax.jit(functools.partial(
      train_step, loss_fn=loss_fn, tx=tx, layer_norms=True), donate_argnums=0)

  def run(state, first, values):
    with MetricLogger(tmp_path, config.logging, 100, first - 1,
                      on_step=StepGuard(config, lambda step: 0.25)) as logger:
      for step, x in enumerate(values, first):
        state, metrics = step_fn(state, None, batch(x))
        logger.log(step, metrics)
    return state
  nan = np.nan
  state = run(start(tx, ema=False), 1, [1.0, nan, nan, 1.0, nan])
  assert "step 3: skipped" in capsys.readouterr().out
  # Started again, the run remembers that its last step was one.
  with pytest.raises(ConfigError) as stopped:
    run(state, 6, [nan, nan, 1.0, 1.0])
  assert stopped.value.__context__ is None
  message = str(stopped.value)
  for part in ("stopped at step 7", "3 times in a row", "steps 5 to 7",
               "batches 4 to 6 of seed 5", "learning rate 0.25",
               "--optimizer.learning_rate", str(tmp_path)):
    assert part in message, message
  assert "\n" not in message
  records = [json.loads(line) for line in
             (tmp_path / "metrics.jsonl").read_text().splitlines()]
  assert [r["skipped_in_a_row"] for r in records] == [0, 1, 2, 0, 1, 2, 3, 0]
  assert records[-1]["skipped"] == 5
  assert records[0]["grad_norm/w"] > 0 and records[0]["update_norm/z"] > 0
