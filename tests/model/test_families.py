"""Every part in the three ways a model runs: alone, cached, over a mesh."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from families import DEEPSEEK_LIKE, FAMILIES
from llm_jax.config import ConfigError, MeshConfig, MoeConfig, Rules
from llm_jax.model.decode import decode_step, init_cache, prefill
from llm_jax.model.params import count_params, init_params, param_shardings
from llm_jax.model.transformer import forward
from llm_jax.sharding import make_mesh
from llm_jax.training.losses import language_model_loss

FAMILY = pytest.mark.parametrize("name", FAMILIES)
T = 12


def family(name, **changes):
  config = dataclasses.replace(FAMILIES[name], init_std=0.3, **changes)
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(1), config)
  leaves, treedef = jax.tree.flatten(params)
  # Scales and biases start as constants, which would hide a swapped pair.
  rng = np.random.default_rng(2)
  leaves = [x + 0.1 * rng.normal(size=x.shape).astype(np.float32)
            for x in leaves]
  tokens_BT = rng.integers(61, size=(4, T)).astype(np.int32)
  return treedef.unflatten(leaves), jnp.asarray(tokens_BT), config


@FAMILY
@pytest.mark.parametrize("cache_dtype", [
    "", pytest.param("int8", marks=pytest.mark.slow)])
def test_ragged_prefill_then_decode_equals_forward(name, cache_dtype):
  params, tokens_BT, config = family(name, cache_dtype=cache_dtype)
  expected_BTV, _ = jax.jit(forward, static_argnames="config")(
      params, tokens_BT, config)
  lengths_B = np.array([3, 6, 1, 5], np.int32)
  padded_BT = np.where(np.arange(7) < lengths_B[:, None], tokens_BT[:, :7], 60)
  logits_BV, cache = jax.jit(prefill, static_argnames="config")(
      params, padded_BT, lengths_B, init_cache(4, T + 3, config), config)
  step = jax.jit(decode_step, static_argnames="config")
  rows, errors = np.arange(4), []
  for _ in range(5):
    errors.append(np.abs(logits_BV - expected_BTV[rows, lengths_B - 1]))
    logits_BV, cache = step(params, tokens_BT[rows, lengths_B], lengths_B,
                            cache, config)
    lengths_B = lengths_B + 1
  size = float(jnp.abs(expected_BTV).max())
  if cache_dtype == "int8":
    assert 1e-5 * size < np.mean(errors) < 0.03 * size
  else:
    assert np.max(errors) < 2e-4 * max(size, 1)


@FAMILY
@pytest.mark.slow
def test_scan_blockwise_and_remat_change_nothing(name):
  params, tokens_BT, config = family(name)
  batch = {"tokens": tokens_BT, "targets": jnp.roll(tokens_BT, -1, axis=1),
           "loss_mask": jnp.ones((4, T)),
           "segment_ids": (jnp.arange(T)[None] >= jnp.array(
               [[5], [12], [1], [7]])).astype(jnp.int32),
           "positions": jnp.broadcast_to(jnp.arange(T)[None], (4, T))}

  def value_and_grad(**changes):
    changed = dataclasses.replace(config, **changes)
    return jax.jit(jax.value_and_grad(
        lambda p: language_model_loss(p, None, batch, 0, config=changed)[0]
    ))(params)
  plain = value_and_grad(attention="reference", scan_layers=False)
  other = value_and_grad(attention="blockwise", remat="full")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=2e-3, atol=2e-4 * float(jnp.abs(a).max() + 1)), plain, other)
  # Without the bound nothing is a gradient of: every tensor takes part, but
  # for the bias that steers the choice alone.
  for path, gradient in jax.tree_util.tree_flatten_with_path(plain[1])[0]:
    steers = "router_bias" in jax.tree_util.keystr(path)
    assert bool(jnp.abs(gradient).max() > 0) != steers, path


FSDP_TENSOR = MeshConfig(data=2, fsdp=2, tensor=2)
EXPERT = MeshConfig(data=1, fsdp=2, tensor=2, expert=2)


@pytest.mark.slow
@pytest.mark.parametrize("name,mesh", [
    *((name, FSDP_TENSOR) for name in FAMILIES),
    *((name, EXPERT) for name, config in FAMILIES.items()
      if config.moe.num_experts)])
def test_over_a_mesh(name, mesh):
  params, tokens_BT, config = family(name)
  def loss(params, config):
    logits_BTV, aux = forward(params, tokens_BT, config)
    logprobs_BTV = jax.nn.log_softmax(logits_BTV)
    return -logprobs_BTV[..., 7].mean() + aux.get("balance_loss", 0.0)
  run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
  expected = run(params, config)
  with jax.set_mesh(make_mesh(mesh)):
    split = jax.device_put(params, jax.tree.map(
        lambda spec: jax.sharding.NamedSharding(jax.sharding.get_mesh(), spec),
        param_shardings(config)))
    found = run(split, config)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=2e-3, atol=2e-5 * float(jnp.abs(a).max() + 1)),
      expected, found)
  if mesh.expert > 1:  # each device holds half of the experts, not all
    kernel = split["layers"][1]["moe"]["up"]
    assert kernel.addressable_shards[0].data.shape == (2, 4, 16, 12)


@pytest.mark.slow
def test_window_bounds_the_gradient():
  """Seen from the last query: one local layer reaches `window` tokens."""
  params, tokens_BT, config = family("gemma_like", layer_pattern=("local",),
                                     num_layers=1)
  # Untied, as the head would read every row of the table as well.
  config = dataclasses.replace(config, tie_embeddings=False)
  def last(scale_BT):
    table = (params["embed"]["tokens"][tokens_BT] * scale_BT[..., None]
             ).reshape(4 * T, -1)
    head = {"kernel": params["embed"]["tokens"].T}
    return forward({**params, "embed": {"tokens": table}, "head": head},
                   jnp.arange(4 * T).reshape(4, T), config)[0][:, -1].sum()
  gradient_BT = jax.grad(last)(jnp.ones((4, T)))
  assert jnp.all(gradient_BT[:, :T - config.window] == 0)
  assert jnp.all(gradient_BT[:, T - config.window:] != 0)


def test_layers_without_positions_do_not_see_order():
  """All earlier tokens permuted: nope layers give the same last logits."""
  params, tokens_BT, config = family("olmo_like",
                                     layer_pattern=("global_nope",))
  shuffled_BT = jnp.concatenate(
      [tokens_BT[:, ::-1][:, 1:], tokens_BT[:, -1:]], axis=1)
  def last(tokens_BT, config):
    return forward(params, tokens_BT, config)[0][:, -1]
  one_layer = dataclasses.replace(config, num_layers=1)
  params = {**params, "layers": [jax.tree.map(lambda x: x[:1],
                                              params["layers"][0])]}
  np.testing.assert_allclose(last(tokens_BT, one_layer),
                             last(shuffled_BT, one_layer), rtol=1e-4, atol=1e-4)
  turned = dataclasses.replace(one_layer, layer_pattern=("global",))
  assert jnp.abs(last(tokens_BT, turned) - last(shuffled_BT, turned)).max() > .1


def test_latent_cache_is_the_compressed_one():
  config = DEEPSEEK_LIKE
  cache = init_cache(2, 9, config)
  assert [x.shape for x in cache.k] == [(2, 1, 9, 16 + 4)] * 3
  assert cache.v == (None,) * 3


def test_counts_of_a_published_size():
  """DeepSeek-V3 without its multi-token-prediction layer: 671.0 billion."""
  config = dataclasses.replace(
      DEEPSEEK_LIKE, vocab_size=129280, embed_dim=7168, num_layers=61,
      num_heads=128, num_kv_heads=128, mlp_dim=18432,
      latent=dataclasses.replace(DEEPSEEK_LIKE.latent, kv_rank=512,
                                 q_rank=1536, nope_dim=128, rope_dim=64,
                                 v_dim=128),
      moe=dataclasses.replace(DEEPSEEK_LIKE.moe, num_experts=256,
                              experts_per_token=8, mlp_dim=2048,
                              shared_dim=2048, first_dense=3))
  assert count_params(config) == 671_026_419_200


@pytest.mark.parametrize("changes, told", [
    ({"layer_pattern": ("local",)}, "model.window"),
    ({"layer_pattern": ("nearby",)}, "layer_pattern"),
    ({"qk_norm": "some"}, "qk_norm"),
    ({"moe": MoeConfig(num_experts=4, experts_per_token=5, mlp_dim=8)},
     "experts_per_token=5"),
    ({"moe": MoeConfig(num_experts=4)}, "model.moe.mlp_dim"),
    ({"rope_fraction": 0.4}, "even"),
    ({"rules": Rules(batch=())}, "")])
def test_parts_that_do_not_fit_are_told(changes, told):
  config = dataclasses.replace(FAMILIES["olmo_like"], window=0,
                               layer_pattern=("global",))
  config = dataclasses.replace(config, **changes)
  if not told:
    config.validate()
    return
  with pytest.raises(ConfigError, match=told):
    config.validate()
