"""Experts over a mesh: each way to bring rows to them has the same numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError, MeshConfig, ModelConfig, MoeConfig
from llm_jax.config import Rules
from llm_jax.model import experts
from llm_jax.model.moe import moe
from llm_jax.sharding import make_mesh

B, T, D, E, F = 8, 6, 16, 8, 12
MODEL = ModelConfig(
    vocab_size=32, embed_dim=D, compute_dtype="float64", moe=MoeConfig(
        num_experts=E, experts_per_token=3, mlp_dim=F))
EXPERT4 = MeshConfig(data=2, expert=4)


def with_moe(model=MODEL, rules=None, **changes):
  return dataclasses.replace(
      model, moe=dataclasses.replace(model.moe, **changes),
      rules=rules or model.rules)


def arrays(rows=B, seed=0):
  rng = np.random.default_rng(seed)
  params = {"router": rng.normal(size=(D, E)), "up": rng.normal(size=(E, D, F)),
            "gate": rng.normal(size=(E, D, F)),
            "down": rng.normal(size=(E, F, D))}
  return params, rng.normal(size=(rows, T, D)), rng.normal(size=(rows, T, D))


def objective(params, x_BTD, seen_BTD, config):
  out_BTD, aux = moe(x_BTD, params, config)
  return jnp.sum(out_BTD * seen_BTD) + 10 * aux["balance_loss"], (out_BTD, aux)


run = jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True),
              static_argnames="config")


@functools.cache
def on_one_device(rows=B):
  return run(*arrays(rows), config=MODEL)


def same(found, expected, rtol=1e-11):
  (loss, (out, aux)), grads = found
  (loss_1, (out_1, aux_1)), grads_1 = expected
  np.testing.assert_allclose(out, out_1, rtol=rtol, atol=1e-11)
  np.testing.assert_allclose(loss, loss_1, rtol=rtol)
  np.testing.assert_allclose(aux["balance_loss"], aux_1["balance_loss"],
                             rtol=1e-12)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=rtol, atol=1e-10), grads, grads_1)


MESHES = {
    "expert4": EXPERT4,
    "expert4_tensor2": MeshConfig(data=1, expert=4, tensor=2),
    "fsdp2_expert2_context2": MeshConfig(data=1, fsdp=2, expert=2, context=2)}


@pytest.mark.parametrize("dispatch", ["gather", "all_to_all"])
@pytest.mark.parametrize("name", MESHES)
def test_is_exact_over_a_mesh(name, dispatch):
  with jax.enable_x64(True):
    expected = on_one_device()
    with jax.set_mesh(make_mesh(MESHES[name])):
      same(run(*arrays(), config=with_moe(dispatch=dispatch)), expected)


def test_expert_axes_may_be_several():
  """Experts over two axes, of which one also splits the batch's rows."""
  rules = Rules(experts=("fsdp", "expert"))
  with jax.enable_x64(True):
    with jax.set_mesh(make_mesh(MeshConfig(data=2, fsdp=2, expert=2))):
      same(run(*arrays(), config=with_moe(rules=rules)), on_one_device())
    # Tokens are not split over tensor, which all-to-all would need.
    rules = Rules(experts=("expert", "tensor"), mlp=())
    with jax.set_mesh(make_mesh(MeshConfig(data=2, tensor=2, expert=2))):
      same(run(*arrays(), config=with_moe(rules=rules)), on_one_device())
    with jax.set_mesh(make_mesh(MeshConfig(data=2, fsdp=2, expert=2))):
      with pytest.raises(ConfigError, match="model.rules.mlp is fsdp"):
        run(*arrays(), config=with_moe(rules=Rules(mlp=("fsdp",))))


def test_a_batch_too_small_to_split():
  """As in decoding: one row, whole on every device."""
  with jax.enable_x64(True):
    expected = on_one_device(1)
    with jax.set_mesh(make_mesh(EXPERT4)):
      same(run(*arrays(1), config=MODEL), expected)


def visits(params, x_BTD):
  """Of each token, its experts, best first; NumPy."""
  return np.argsort(-(x_BTD.reshape(-1, D) @ params["router"]), axis=1)[:, :3]


def test_a_bounded_load_drops_later_choices_and_counts_them():
  """Against NumPy: a slot takes first choices of all tokens, then second."""
  params, x_BTD, seen_BTD = arrays()
  factor = 1.0
  with jax.enable_x64(True), jax.set_mesh(make_mesh(EXPERT4)):
    config = with_moe(capacity_factor=factor)
    (_, (out_BTD, aux)), _ = run(params, x_BTD, seen_BTD, config=config)
  per_device = B * T // 8
  room = int(np.ceil(factor * per_device * 3 / 4))
  assert room == experts.slot_rows(per_device, 4, E // 4, config)
  chosen = visits(params, x_BTD)
  logits = x_BTD.reshape(-1, D) @ params["router"]
  expected, dropped = np.zeros((B * T, D)), 0
  for device in range(8):  # rows of the batch are split over all eight
    load = np.zeros(4, int)
    for choice in range(3):
      for n in range(device * per_device, (device + 1) * per_device):
        expert = chosen[n, choice]
        load[expert // 2] += 1
        if load[expert // 2] > room:
          dropped += 1
          continue
        weight = (np.exp(logits[n, expert])
                  / np.exp(logits[n, chosen[n]]).sum())
        x = x_BTD.reshape(-1, D)[n]
        gate = x @ params["gate"][expert]
        hidden = gate / (1 + np.exp(-gate)) * (x @ params["up"][expert])
        expected[n] += weight * (hidden @ params["down"][expert])
  assert dropped > 0
  np.testing.assert_allclose(out_BTD.reshape(-1, D), expected, atol=1e-9)
  np.testing.assert_allclose(aux["dropped_share"], dropped / (B * T * 3),
                             rtol=1e-6)


def test_enough_capacity_drops_nothing():
  with jax.enable_x64(True):
    expected = on_one_device()
    with jax.set_mesh(make_mesh(EXPERT4)):
      found = run(*arrays(), config=with_moe(capacity_factor=4.0))
  assert found[0][1][1]["dropped_share"] == 0
  same(found, expected)


def test_the_collectives_are_what_was_asked_for():
  def program(**changes):
    with jax.enable_x64(True), jax.set_mesh(make_mesh(EXPERT4)):
      return run.lower(*arrays(), config=with_moe(**changes)).compile(
          ).as_text()
  sent, gathered = program(), program(dispatch="gather")
  assert "all-to-all" in sent and "all-to-all" not in gathered
  assert "all-gather" in gathered
