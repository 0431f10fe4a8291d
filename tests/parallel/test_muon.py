"""Muon over 8 devices: one device's numbers, and each matrix's work once."""

import functools
import re

import jax
import numpy as np
import optax
import optax.contrib
import pytest

from llm_jax.config import MeshConfig, ModelConfig, MoeConfig
from llm_jax.model.params import init_tensors, param_specs, tensor_shardings
from llm_jax.sharding import make_mesh
from llm_jax.training.muon import MuonState, matrix_axes, scale_by_muon

# Six layers, so that some of eight devices get none.
DENSE = ModelConfig(vocab_size=64, embed_dim=32, num_layers=6, num_heads=4,
                    num_kv_heads=4, head_dim=8, mlp_dim=64, mlp="gelu")
EXPERTS = ModelConfig(vocab_size=64, embed_dim=16, num_layers=2, num_heads=4,
                      num_kv_heads=4, head_dim=4, mlp_dim=32,
                      moe=MoeConfig(num_experts=8, mlp_dim=16))


def specs_of(model):
  """Some matrices of a stack of layers."""
  layer = param_specs(model)["layers"][0]
  return {"layers": [{"attention": {name: layer["attention"][name]
                                    for name in ("q", "o")},
                      **({"moe": {name: layer["moe"][name]
                                  for name in ("router", "up", "down")}}
                         if "moe" in layer else {"mlp": layer["mlp"]})}]}


def tensors(model, seed):
  """Their values."""
  return init_tensors(jax.random.key(seed), specs_of(model), "float32")


def dimensions(params):
  """`matrix_axes` as Optax names them."""
  def one(path, x):
    lead, rows = matrix_axes(path, x.ndim)
    return optax.contrib.MuonDimensionNumbers(
        tuple(range(lead, lead + rows)), tuple(range(lead + rows, x.ndim)))
  return jax.tree_util.tree_map_with_path(one, params)


def put(tree, specs):
  mesh = jax.sharding.get_mesh()
  return jax.tree.map(lambda x, spec: jax.device_put(
      x, jax.sharding.NamedSharding(mesh, spec)), tree, specs)


@functools.cache
def optax_updates(model):
  """Of two steps, on one device, by Optax."""
  def longer_side(path, x):
    lead, rows = matrix_axes(path, x.ndim)
    return max(np.prod(x.shape[lead:lead + rows]),
               np.prod(x.shape[lead + rows:]))
  tx = optax.contrib.scale_by_muon(weight_dimension_numbers=dimensions)
  state, found, step = tx.init(tensors(model, 0)), [], jax.jit(tx.update)
  for seed in (1, 2):
    updates, state = step(tensors(model, seed), state)
    # Liu et al. 2025, arXiv:2502.16982, equation 4.
    found.append(jax.tree_util.tree_map_with_path(
        lambda path, u: 0.2 * np.sqrt(longer_side(path, u)) * u, updates))
  return found


def test_matrices_by_hand():
  shapes = {"layers.0.attention.q": (16, 16), "layers.0.attention.o": (16, 16),
            "layers.0.moe.router": (16, 8), "layers.0.moe.up": (16, 16)}
  specs = specs_of(EXPERTS)
  for path, spec in jax.tree_util.tree_leaves_with_path(
      specs, is_leaf=lambda s: hasattr(s, "axes")):
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    if name in shapes:
      lead, rows = matrix_axes(path, len(spec.shape))
      assert lead == (2 if name.endswith("up") else 1)
      assert shapes[name] == (np.prod(spec.shape[lead:lead + rows]),
                              np.prod(spec.shape[lead + rows:]))


MESHES = {"one": None, "fsdp8": MeshConfig(data=1, fsdp=8),
          "fsdp4_tp2": MeshConfig(data=1, fsdp=4, tensor=2),
          "data2_fsdp2_expert2": MeshConfig(data=2, fsdp=2, expert=2)}


@pytest.mark.parametrize("model,mesh", [
    (DENSE, "one"), (DENSE, "fsdp8"), (DENSE, "fsdp4_tp2"),
    (EXPERTS, "data2_fsdp2_expert2")])
def test_equals_optax_and_shares_the_work(model, mesh):
  mesh = MESHES[mesh]
  specs, params = specs_of(model), tensors(model, 0)
  shardings = tensor_shardings(specs, model.rules)
  tx = scale_by_muon(shardings)
  state = tx.init(params)
  gradients = [tensors(model, seed) for seed in (1, 2)]
  if mesh is None:
    step = jax.jit(tx.update).lower(gradients[0], state).compile()
    for gradient, wanted in zip(gradients, optax_updates(model)):
      updates, state = step(gradient, state)
      jax.tree.map(lambda a, b: np.testing.assert_allclose(
          a, b, rtol=1e-4, atol=1e-5), updates, wanted)
    return
  with jax.set_mesh(make_mesh(mesh)):
    replicated = jax.sharding.PartitionSpec()
    state_specs = MuonState(replicated, shardings)
    step = jax.jit(tx.update, in_shardings=(shardings, state_specs),
                   donate_argnums=1).lower(gradients[0], state).compile()
    state = put(state, state_specs)
    for gradient, wanted in zip(gradients, optax_updates(model)):
      updates, state = step(put(gradient, shardings), state)
      jax.tree.map(lambda a, b: np.testing.assert_allclose(
          a, b, rtol=1e-4, atol=1e-5), updates, wanted)
      for result in (updates, state.mu):  # they lie as their parameters do
        jax.tree.map(lambda x, spec: np.testing.assert_(
            x.sharding.is_equivalent_to(
                jax.sharding.NamedSharding(x.sharding.mesh, spec), x.ndim)),
            result, shardings)
  one = jax.jit(tx.update).lower(gradients[0], tx.init(params)).compile()
  flops = [c.cost_analysis()["flops"] for c in (one, step)]
  # Six matrices over eight devices are one each; experts divide evenly.
  assert flops[1] < flops[0] / (5 if model is DENSE else 4)
  text = step.as_text()
  assert re.search(r" all-to-all\(", text)
  if mesh.data == 1:  # else copies come together by an all-gather
    assert not re.search(r" (all-gather|all-reduce)\(", text)
