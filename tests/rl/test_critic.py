"""The critic: its loss, its place in the state, and that it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import (
    CheckpointConfig, ConfigError, CriticConfig, ModelConfig, ObjectiveConfig,
    OptimizerConfig, RlConfig, SamplingConfig)
from llm_jax.model.heads import scores, with_score_head
from llm_jax.model.params import init_params
from llm_jax.rl import critic
from llm_jax.rl.policy_loss import policy_loss_fn
from llm_jax.training.checkpoints import Checkpointer
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import fresh_state, train_step
import objective_oracles as oracles

MODEL = ModelConfig(vocab_size=19, embed_dim=8, num_layers=1, num_heads=2,
                    num_kv_heads=1, head_dim=4, mlp_dim=12, max_seq_len=16,
                    init_std=0.5)
CONFIG = RlConfig(
    num_steps=50, group_size=2, sampling=SamplingConfig(max_new_tokens=6),
    optimizer=OptimizerConfig(learning_rate=1e-2, schedule="constant",
                              warmup_steps=0, weight_decay=0.0),
    objective=ObjectiveConfig(advantages="gae", critic=CriticConfig(
        learning_rate=3e-2, value_clip=0.0, warmup_steps=1)))


def test_value_loss_by_hand():
  # All were 1 and are to be 2. One is within the bound; one came further, and
  # has no gradient any more, as its bound of 1.2 is the worse; one went the
  # other way, which no bound forgives.
  values = jnp.array([[1.1, 2.0, 0.0]])
  old, returns = jnp.ones((1, 3)), jnp.array([[2.0, 2.0, 2.0]])
  def loss(v):
    return critic.value_loss(v, old, returns, jnp.ones((1, 3)), value_clip=0.2)
  (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(values)
  np.testing.assert_allclose(value, (0.81 + 0.64 + 4) / 2, rtol=1e-5)
  np.testing.assert_allclose(gradient, [[-0.9, 0, -2]], rtol=1e-5)
  assert aux.metrics["value_clip_fraction"][0] == 1 and aux.weight == 3


@pytest.mark.parametrize("clip", [0.3, 0.0])
def test_value_loss_is_the_oracles(clip):
  with jax.enable_x64(True):
    e = oracles.ragged(0)
    returns = np.where(e["mask"], e["adv"], np.nan)

    def loss(values):
      return critic.value_loss(values, e["old"], returns, e["mask"],
                               value_clip=clip)[0]

    def oracle(values):
      return oracles.value_loss(values, e["old"], returns, e["mask"],
                                clip or np.inf)
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(e["logp"]))
    np.testing.assert_allclose(value, oracle(e["logp"]), rtol=1e-6)
    np.testing.assert_allclose(
        gradient, oracles.slopes(oracle, e["logp"], e["mask"]), rtol=0,
        atol=1e-6)


def test_explained_variance_by_hand():
  returns, mask = jnp.array([[1.0, 3.0, 99.0]]), jnp.array([[1.0, 1.0, 0.0]])
  for values, expected in (([[1, 3, 0]], 1), ([[2, 2, 0]], 0),
                           ([[1, 2, 0]], 0.75), ([[3, 1, 0]], -3)):
    np.testing.assert_allclose(critic.explained_variance(
        jnp.array(values, jnp.float32), returns, mask), expected, atol=1e-6)


@pytest.fixture(scope="module")
def params():
  return jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=MODEL)


def new_state(params):
  state = fresh_state(params, make_optimizer(CONFIG.optimizer, 50))
  carried = critic.carried_critic(CONFIG, MODEL)
  return state.replace(extra={**state.extra, "critic":
                              carried["critic"].start(params)})


@pytest.fixture(scope="module")
def batch():
  """Rows of one repeated token; what comes of them is half of it."""
  first_B1 = jnp.arange(1, 9)[:, None]
  tokens_BT = jnp.broadcast_to(first_B1, (8, 10))
  mask_BT = jnp.broadcast_to(jnp.arange(10)[None] > 3, (8, 10)).astype(float)
  zeros_BT = jnp.zeros((8, 10))
  return {"tokens": tokens_BT, "targets": tokens_BT, "loss_mask": mask_BT,
          "old_logprobs": zeros_BT - 3, "sampler_logprobs": zeros_BT - 3,
          "advantages": zeros_BT + 0.1, "values": zeros_BT,
          "returns": jnp.broadcast_to(first_B1 / 2, (8, 10))}


def test_values_begin_at_zero_and_learn_while_the_policy_waits(params, batch):
  policy_step = functools.partial(
      train_step, loss_fn=policy_loss_fn(MODEL, CONFIG),
      tx=make_optimizer(CONFIG.optimizer, 50))
  np.testing.assert_array_equal(
      scores(with_score_head(params), batch["tokens"], MODEL), 0.0)
  step_fn = jax.jit(critic.make_actor_critic_step(policy_step, CONFIG, MODEL))
  state, errors = new_state(params), []
  for step in range(30):
    before, (state, metrics) = state, step_fn(state, {}, batch)
    errors.append(float(metrics["critic_value_error"]))
    moved = [bool((a != b).any()) for a, b in zip(
        jax.tree.leaves(before.params), jax.tree.leaves(state.params))]
    assert any(moved) == (step > 0)  # a warm-up of one step
    assert int(state.step) == step + 1
  assert errors[0] > 5 and errors[-1] < 0.5
  assert int(state.extra["critic"].step) == 30
  assert {"critic_loss", "critic_value", "loss", "ratio"} <= set(metrics)


def test_it_is_saved_and_restored_with_the_policy(params, tmp_path):
  state = new_state(params)
  other = jax.tree.map(lambda x: x + 1, state.extra["critic"])
  state = state.replace(extra={**state.extra, "critic": other})
  checkpointer = Checkpointer(str(tmp_path), CheckpointConfig(), MODEL, "rl")
  checkpointer.save(3, state, {"next_batch": 3})
  checkpointer.wait()
  tx = make_optimizer(CONFIG.optimizer, 50)
  restored, _, _ = checkpointer.restore(
      tx, carried=critic.carried_critic(CONFIG, MODEL))
  assert (jax.tree.structure(restored) == jax.tree.structure(state))
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  with pytest.raises(ConfigError, match="also has critic"):
    checkpointer.restore(tx)
  checkpointer.close()
