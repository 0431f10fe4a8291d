"""A mesh changes where credit and updates are computed, and not which."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from llm_jax.config import (
    MeshConfig, ModelConfig, ObjectiveConfig, OptimizerConfig, RlConfig,
    SamplingConfig)
from llm_jax.rl.credit import assign_credit
from llm_jax.rl.critic import carried_critic, make_actor_critic_step
from llm_jax.rl.policy_loss import policy_loss_fn
from llm_jax.sharding import global_batch, make_mesh
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.train_step import init_train_state, train_step

B, T, V, STEPS = 16, 12, 32, 3
MODEL = ModelConfig(
    vocab_size=V, embed_dim=16, num_layers=1, num_heads=4, num_kv_heads=2,
    head_dim=4, mlp_dim=16, max_seq_len=T, init_std=0.3,
    compute_dtype="float64", param_dtype="float64")
ALONE = MeshConfig(data=1)
OBJECTIVES = {
    "grpo": ObjectiveConfig(normalization="response", kl_coef=0.1,
                            importance_cap=1.5, entropy_coef=0.01),
    "gspo": ObjectiveConfig(kind="gspo", normalization="response"),
    "ppo": ObjectiveConfig(advantages="gae", kl_coef=0.1, kl_in="reward",
                           kl_estimator="k1"),
    "cispo": ObjectiveConfig(kind="cispo", advantages="rloo", clip_low=1.0,
                             normalization="constant"),
    "reinforce": ObjectiveConfig(kind="reinforce", advantages="batch")}


def rollout(step):
  """Ragged rows of two turns each."""
  rng = np.random.default_rng([3, step])
  tokens = rng.integers(V, size=(B, T + 1)).astype(np.int32)
  places, ends = np.arange(T), rng.integers(5, T + 1, size=(B, 1))
  mask = ((places >= 2) & (places != 4) & (places < ends)).astype(np.float64)
  return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:],
          "loss_mask": mask, "sampler_logprobs": -3.4 * mask}, rng.normal(
              size=B)


def run(objective, mesh_config, num_microbatches, devices):
  """Metrics of each step, and the parameters after the last."""
  config = RlConfig(
      num_steps=STEPS, group_size=4, num_microbatches=num_microbatches,
      updates_per_rollout=2, objective=objective,
      optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=1),
      sampling=SamplingConfig(max_new_tokens=10))
  tx = make_optimizer(config.optimizer, 2 * STEPS)
  step_fn = jax.jit(make_actor_critic_step(functools.partial(
      train_step, loss_fn=policy_loss_fn(MODEL, config), tx=tx,
      num_microbatches=num_microbatches), config, MODEL))
  credit_fn = jax.jit(functools.partial(assign_credit, model=MODEL,
                                        config=config))
  mesh, found = make_mesh(mesh_config, devices), []
  with jax.set_mesh(mesh):
    state = init_train_state(jax.random.key(0), tx, MODEL)
    frozen = {"reference": state.params}
    state = state.replace(extra={**state.extra, **{
        name: each.start(state.params) for name, each in
        carried_critic(config, MODEL).items()}})
    for step in range(STEPS):
      rows, rewards = rollout(step)
      critic = state.extra.get("critic")
      batch, told = credit_fn(
          global_batch(rows, mesh, MODEL.rules, whole=True), rewards,
          state.params, critic and critic.params, frozen["reference"])
      for _ in range(2):
        state, metrics = step_fn(state, frozen, batch)
        found.append({name: float(x) for name, x in (metrics | told).items()})
    return found, jax.tree.map(np.asarray, state.params)


def check(objective, mesh, num_microbatches):
  with jax.enable_x64(True):
    metrics, params = run(objective, mesh, num_microbatches, None)
    expected, params_alone = run(objective, ALONE, 1, jax.devices()[:1])
  for mine, theirs in zip(metrics, expected, strict=True):
    assert mine.keys() == theirs.keys()
    for name in mine:
      np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-7,
                                 atol=1e-9, err_msg=name)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-6, atol=1e-8), params, params_alone)
  assert abs(expected[-1]["ratio"] - 1) > 1e-6  # the policy did move


def test_ppo_on_eight_devices():
  check(dataclasses.replace(OBJECTIVES["ppo"], entropy_coef=0.01),
        MeshConfig(data=1, fsdp=4, tensor=2), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("mesh, num_microbatches", [
    (MeshConfig(data=8), 1), (MeshConfig(data=2, fsdp=2, tensor=2), 2)])
def test_eight_devices_are_one(name, mesh, num_microbatches):
  check(OBJECTIVES[name], mesh, num_microbatches)
