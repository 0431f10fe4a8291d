"""Adapters: nothing at first, the factors alone trained, merging exact."""

import dataclasses
import functools
import math
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_jax.config import ConfigError, LoraConfig, MeshConfig, ModelConfig
from llm_jax.config import LatentConfig, MoeConfig
from llm_jax.model import lora as lora_lib
from llm_jax.model.decode import decode_step, init_cache, prefill
from llm_jax.model.params import (
    init_params, is_spec, param_shardings, param_specs, tensor_shardings)
from llm_jax.model.quantization import quantize
from llm_jax.model.transformer import forward
from llm_jax.sharding import make_mesh

LLAMA = ModelConfig(vocab_size=64, embed_dim=24, num_layers=2, num_heads=4,
                    num_kv_heads=2, head_dim=8, mlp_dim=40, max_seq_len=16,
                    tie_embeddings=False, init_std=0.2)
GPT2 = dataclasses.replace(LLAMA, norm="layernorm", position="learned",
                           mlp="gelu", use_bias=True, tie_embeddings=True)
# A dense layer and one of experts; attention through latents.
DEEPSEEK = dataclasses.replace(
    LLAMA, num_kv_heads=4, scan_layers=False,
    latent=LatentConfig(kv_rank=12, q_rank=10, nope_dim=8, rope_dim=4,
                        v_dim=6),
    moe=MoeConfig(num_experts=4, experts_per_token=2, mlp_dim=16,
                  shared_dim=16, first_dense=1))
MODELS = {"llama": LLAMA, "gpt2": GPT2, "deepseek": DEEPSEEK}
LORA = LoraConfig(rank=3, alpha=6.0, targets=LoraConfig().targets + ("head",))

forward_fn = jax.jit(forward, static_argnums=2)
init_fn = functools.partial(jax.jit(init_params, static_argnums=1),
                            jax.random.key(0))
merge_fn = jax.jit(lora_lib.merge, static_argnums=2)


def tokens(seed=0):
  return np.random.default_rng(seed).integers(64, size=(2, 12)).astype(
      np.int32)


def random_adapter(model, lora=LORA, seed=1):
  """Factors that are not zero: B too, as after training."""
  specs = lora_lib.lora_specs(model, lora)
  leaves, treedef = jax.tree.flatten(specs, is_leaf=is_spec)
  rng = np.random.default_rng(seed)
  return treedef.unflatten([
      (0.15 * rng.standard_normal(s.shape)).astype(np.float32)
      for s in leaves])


def paths(tree, is_leaf=None):
  return {jax.tree_util.keystr(path, simple=True, separator=".")
          for path, _ in jax.tree_util.tree_leaves_with_path(tree, is_leaf)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_a_new_adapter_changes_nothing(name):
  model = MODELS[name]
  params = init_fn(model)
  adapter = jax.jit(lora_lib.init_lora, static_argnums=(1, 2))(
      jax.random.key(1), model, LORA)
  plain, _ = forward_fn(params, tokens(), model)
  attached, _ = forward_fn(lora_lib.attach(params, adapter, LORA), tokens(),
                           model)
  np.testing.assert_allclose(plain, attached, atol=1e-5)
  merged = merge_fn(params, adapter, LORA)
  jax.tree.map(np.testing.assert_array_equal, params, merged)


@pytest.mark.parametrize("name", MODELS)
def test_merged_is_attached(name):
  model = MODELS[name]
  params = init_fn(model)
  adapter = random_adapter(model)
  plain, _ = forward_fn(params, tokens(), model)
  attached, _ = forward_fn(lora_lib.attach(params, adapter, LORA), tokens(),
                           model)
  merged, _ = forward_fn(merge_fn(params, adapter, LORA), tokens(),
                         model)
  assert np.abs(plain - merged).max() > 0.1  # it does matter
  np.testing.assert_allclose(attached, merged, atol=2e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_every_factor_has_a_gradient(name):
  """None is left out of the model's products."""
  model = MODELS[name]
  params, adapter = init_fn(model), random_adapter(model)

  def loss(adapter):
    logits, _ = forward(lora_lib.attach(params, adapter, LORA), tokens(),
                        model)
    return jnp.sum(jnp.square(logits))

  grads = jax.jit(jax.grad(loss))(adapter)
  assert jax.tree.structure(adapter) == jax.tree.structure(grads)
  for path, grad in jax.tree_util.tree_leaves_with_path(grads):
    assert np.abs(grad).max() > 1e-6, path


def test_which_kernels_are_updated():
  names = paths(lora_lib.lora_specs(LLAMA, LORA), is_spec)
  assert names == {f"layers.0.{kernel}.{factor}" for factor in "ab" for kernel
                   in ("attention.q", "attention.k", "attention.v",
                       "attention.o", "mlp.up", "mlp.gate", "mlp.down")
                   } | {"head.kernel.a", "head.kernel.b"}
  deepseek = paths(lora_lib.lora_specs(DEEPSEEK, LORA), is_spec)
  assert {"layers.0.mlp.up.a", "layers.1.moe.shared.up.a",
          "layers.1.attention.kv_down.b", "layers.1.attention.k_up.a"
          } <= deepseek
  assert not any(".moe.up." in name or "router" in name for name in deepseek)


def test_shapes_and_counts_by_hand():
  lora = LoraConfig(rank=3, targets=("q", "o"))
  (group,) = lora_lib.lora_specs(LLAMA, lora)["layers"]
  shapes = jax.tree.map(lambda s: s.shape, group, is_leaf=is_spec)
  assert shapes == {"attention": {
      "q": {"a": (2, 24, 3), "b": (2, 3, 4, 8)},
      "o": {"a": (2, 4, 8, 3), "b": (2, 3, 24)}}}
  assert lora_lib.count_lora(LLAMA, lora) == 2 * (3 * (24 + 32)) * 2
  assert group["attention"]["o"]["a"].std == pytest.approx(
      1 / math.sqrt(3 * 32))


def test_the_sum_by_hand():
  """W' = W + α/r Σ_r a_r b_r, and with α/√r."""
  params = init_fn(LLAMA)
  for stabilized, scale in ((False, 6 / 3), (True, 6 / math.sqrt(3))):
    lora = dataclasses.replace(LORA, rank_stabilized=stabilized)
    adapter = random_adapter(LLAMA, lora)
    merged = merge_fn(params, adapter, lora)
    for name in ("q", "o"):
      kernel = np.asarray(params["layers"][0]["attention"][name])
      a, b = (np.asarray(adapter["layers"][0]["attention"][name][f])
              for f in "ab")
      for layer in range(2):
        update = (a[layer].reshape(-1, 3) @ b[layer].reshape(3, -1)).reshape(
            kernel.shape[1:])
        np.testing.assert_allclose(
            merged["layers"][0]["attention"][name][layer],
            kernel[layer] + scale * update, atol=1e-5)
  untouched = merged["layers"][0]["mlp_norm"]["scale"]
  np.testing.assert_array_equal(untouched,
                                params["layers"][0]["mlp_norm"]["scale"])


def test_merged_weights_keep_their_dtype():
  model = dataclasses.replace(LLAMA, param_dtype="bfloat16")
  params = init_fn(model)
  merged = merge_fn(params, random_adapter(model), LORA)
  assert {str(x.dtype) for x in jax.tree.leaves(merged)} == {"bfloat16"}


@pytest.mark.slow
def test_decoding_with_an_attached_adapter():
  params = lora_lib.attach(init_fn(LLAMA),
                           random_adapter(LLAMA), LORA)
  expected, _ = forward_fn(params, tokens(), LLAMA)
  cache = init_cache(2, 12, LLAMA)
  logits, cache = prefill(params, tokens()[:, :11], np.array([11, 11]), cache,
                          LLAMA)
  np.testing.assert_allclose(logits, expected[:, 10], atol=1e-4)
  logits, _ = decode_step(params, tokens()[:, 11], np.array([11, 11]), cache,
                          LLAMA)
  np.testing.assert_allclose(logits, expected[:, 11], atol=1e-4)


def test_an_int8_base():
  """The factors come on top of what the int8 kernel stands for."""
  params = init_fn(LLAMA)
  adapter = random_adapter(LLAMA)
  kernel = params["layers"][0]["mlp"]["up"]
  int8 = quantize(kernel, axes=(1,))
  def logits(up):
    mlp = {**params["layers"][0]["mlp"], "up": up}
    tree = {**params, "layers": [{**params["layers"][0], "mlp": mlp}]}
    return forward_fn(lora_lib.attach(tree, adapter, LORA), tokens(),
                      LLAMA)[0]
  np.testing.assert_allclose(logits(int8), logits(int8.astype(jnp.float32)),
                             atol=1e-4)
  assert np.abs(logits(int8) - logits(kernel)).max() > 1e-4


@pytest.mark.parametrize("mesh", [
    {"fsdp": 2, "data": 4}, {"fsdp": 2, "tensor": 2, "data": 2}])
@pytest.mark.slow
def test_on_a_mesh(mesh):
  """Factors are split as their kernels; losses and gradients are the same."""
  params = init_fn(LLAMA)
  adapter = random_adapter(LLAMA)
  batch = np.tile(tokens(), (4, 1))

  def loss(adapter, params):
    logits, _ = forward(lora_lib.attach(params, adapter, LORA), batch, LLAMA)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(
        logits[:, :-1], batch[:, 1:]))

  expected, expected_grads = jax.jit(jax.value_and_grad(loss))(adapter, params)
  with jax.set_mesh(make_mesh(MeshConfig(**mesh))):
    shardings = tensor_shardings(lora_lib.lora_specs(LLAMA, LORA), LLAMA.rules)
    split = jax.jit(lambda x: x, out_shardings=shardings)(adapter)
    whole = jax.jit(lambda x: x, out_shardings=param_shardings(LLAMA))(params)
    b = split["layers"][0]["mlp"]["up"]["b"]
    assert b.sharding.shard_shape(b.shape)[-1] == 40 // mesh.get("tensor", 1)
    value, grads = jax.jit(jax.value_and_grad(loss))(split, whole)
    merged = jax.jit(lora_lib.merge, static_argnums=2,
                     out_shardings=param_shardings(LLAMA))(whole, split, LORA)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5),
               grads, expected_grads)
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5),
               merged, merge_fn(params, adapter, LORA))


def test_wide_matrices_are_never_made():
  """Neither W + s·A·B nor its gradient is in the compiled step."""
  model = dataclasses.replace(LLAMA, embed_dim=32, mlp_dim=96,
                              scan_layers=False, num_layers=1)
  lora = LoraConfig(rank=2, targets=("up",))
  params = jax.eval_shape(lambda: init_fn(model))
  adapter = jax.eval_shape(
      lambda: lora_lib.init_lora(jax.random.key(0), model, lora))

  def loss(adapter, params, attach):
    logits, _ = forward(attach(params, adapter, lora), tokens(), model)
    return jnp.mean(jnp.square(logits))

  def products(attach):
    text = jax.jit(jax.grad(loss), static_argnums=2).lower(
        adapter, params, attach).as_text()
    return sum("dot_general" in line and re.search(
        r"-> tensor<(1x)?(32x96|96x32)xf32>", line) is not None
        for line in text.splitlines())
  assert products(lora_lib.attach) == 0
  assert products(lora_lib.merge) > 0  # the test can see them


@pytest.mark.parametrize("changes, sentence", [
    ({"rank": -1}, "lora.rank is -1"),
    ({"alpha": 0.0}, "lora.alpha is 0.0"),
    ({"targets": ("q_proj",)}, "lora.targets is 'q_proj'; choose one of q, k"),
    ({"targets": ("q_up",)}, "names no kernel of this model"),
    ({"targets": ()}, "names no kernel of this model"),
])
def test_mistakes_are_told(changes, sentence):
  with pytest.raises(ConfigError, match=sentence):
    lora_lib.lora_specs(LLAMA, dataclasses.replace(LORA, **changes))


def test_factors_have_the_axes_of_their_kernels():
  specs = lora_lib.lora_specs(LLAMA, LORA)["layers"][0]["attention"]
  kernels = param_specs(LLAMA)["layers"][0]["attention"]
  for name in "qkvo":
    joined = specs[name]["a"].axes[:-1] + specs[name]["b"].axes[2:]
    assert joined == kernels[name].axes


@pytest.mark.slow
def test_the_page_on_adapters():
  """The Python of docs/adapters.md runs, and its adapter learns."""
  page = pathlib.Path(__file__).parents[2] / "docs" / "adapters.md"
  (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(),
                       re.DOTALL | re.MULTILINE)
  names = {}
  exec(compile(code, str(page), "exec"), names)
  assert names["losses"][-1] < names["losses"][0] - 0.3
  logits, _ = names["forward"](names["merged"], names["tokens_BT"],
                               names["config"])
  attached, _ = names["forward"](
      names["attach"](names["params"], names["adapter"], names["lora"]),
      names["tokens_BT"], names["config"])
  np.testing.assert_allclose(logits, attached, atol=1e-4)
