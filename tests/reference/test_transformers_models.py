"""Logits of the public implementations, with their weights in our tree."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ModelConfig
from llm_jax.model.decode import decode_step, init_cache, prefill
from llm_jax.model.params import param_specs, is_spec
from llm_jax.model.presets import gpt2
from llm_jax.model.transformer import forward

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.reference

V, D, L, N, T = 97, 48, 3, 6, 40
H = D // N


def randomise(model):
  """Every weight, scales and biases too: a constant would hide a mistake."""
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, weight in model.named_parameters():
      noise = torch.randn(weight.shape, generator=generator)
      scale = "norm" in name or "ln_" in name
      weight.copy_(1 + 0.2 * noise if scale and name.endswith("weight")
                   else 0.15 * noise)
  return model.eval()


def stacked(make):
  """Our layers are one group, stacked [L, ...]."""
  return jax.tree.map(lambda *xs: np.stack(xs), *[make(i) for i in range(L)])


def gpt2_params(model):
  """GPT-2's Conv1D weights are [in, out]; q, k and v are one matrix."""
  w = {name: x.detach().numpy() for name, x in model.named_parameters()}

  def layer(i):
    def get(name):
      return w[f"transformer.h.{i}.{name}"]
    def norm(name):
      return {"scale": get(name + ".weight"), "bias": get(name + ".bias")}
    kernels = np.split(get("attn.c_attn.weight"), 3, axis=1)
    biases = np.split(get("attn.c_attn.bias"), 3)
    attention = {name: x.reshape(D, N, H) for name, x in zip("qkv", kernels)}
    attention |= {name + "_bias": x.reshape(N, H)
                  for name, x in zip("qkv", biases)}
    attention |= {"o": get("attn.c_proj.weight").reshape(N, H, D),
                  "o_bias": get("attn.c_proj.bias")}
    return {"attention_norm": norm("ln_1"), "attention": attention,
            "mlp_norm": norm("ln_2"),
            "mlp": {"up": get("mlp.c_fc.weight"),
                    "up_bias": get("mlp.c_fc.bias"),
                    "down": get("mlp.c_proj.weight"),
                    "down_bias": get("mlp.c_proj.bias")}}
  return {"embed": {"tokens": w["transformer.wte.weight"],
                    "positions": w["transformer.wpe.weight"]},
          "layers": [stacked(layer)],
          "final_norm": {"scale": w["transformer.ln_f.weight"],
                         "bias": w["transformer.ln_f.bias"]}}


def llama_params(model, K, head_dim, qk_norm=False):
  """Linear weights are [out, in]."""
  w = {name: x.detach().numpy() for name, x in model.named_parameters()}

  def layer(i):
    def get(name):
      return w[f"model.layers.{i}.{name}.weight"]
    attention = {name: get(f"self_attn.{name}_proj").T.reshape(D, n, head_dim)
                 for name, n in (("q", N), ("k", K), ("v", K))}
    attention["o"] = get("self_attn.o_proj").T.reshape(N, head_dim, D)
    if qk_norm:
      attention |= {"q_norm": get("self_attn.q_norm"),
                    "k_norm": get("self_attn.k_norm")}
    return {"attention_norm": {"scale": get("input_layernorm")},
            "attention": attention,
            "mlp_norm": {"scale": get("post_attention_layernorm")},
            "mlp": {name: get(f"mlp.{name}_proj").T
                    for name in ("gate", "up", "down")}}
  params = {"embed": {"tokens": w["model.embed_tokens.weight"]},
            "layers": [stacked(layer)],
            "final_norm": {"scale": w["model.norm.weight"]}}
  if "lm_head.weight" in w:
    params["head"] = {"kernel": w["lm_head.weight"].T}
  return params


def gpt2_case():
  config = transformers.GPT2Config(
      vocab_size=V, n_embd=D, n_layer=L, n_head=N, n_positions=T)
  model = randomise(transformers.GPT2LMHeadModel(config))
  ours = gpt2(D, L, N, vocab_size=V, max_seq_len=T)
  return model, gpt2_params(model), ours


def llama_case(K=2, tied=False):
  config = transformers.LlamaConfig(
      vocab_size=V, hidden_size=D, num_hidden_layers=L, num_attention_heads=N,
      num_key_value_heads=K, intermediate_size=80, max_position_embeddings=T,
      tie_word_embeddings=tied, rms_norm_eps=1e-5,
      rope_parameters={"rope_type": "default", "rope_theta": 500.0})
  model = randomise(transformers.LlamaForCausalLM(config))
  ours = ModelConfig(
      vocab_size=V, embed_dim=D, num_layers=L, num_heads=N, num_kv_heads=K,
      head_dim=H, mlp_dim=80, max_seq_len=T, rope_theta=500.0,
      tie_embeddings=tied)
  return model, llama_params(model, K, H), ours


def qwen3_case():
  """QK-norm, and heads wider than D / N."""
  config = transformers.Qwen3Config(
      vocab_size=V, hidden_size=D, num_hidden_layers=L, num_attention_heads=N,
      num_key_value_heads=3, head_dim=12, intermediate_size=80,
      max_position_embeddings=T, tie_word_embeddings=True, rms_norm_eps=1e-5,
      rope_parameters={"rope_type": "default", "rope_theta": 10_000.0})
  model = randomise(transformers.Qwen3ForCausalLM(config))
  ours = ModelConfig(
      vocab_size=V, embed_dim=D, num_layers=L, num_heads=N, num_kv_heads=3,
      head_dim=12, mlp_dim=80, max_seq_len=T, qk_norm="head",
      tie_embeddings=True)
  return model, llama_params(model, 3, 12, qk_norm=True), ours


CASES = {"gpt2": gpt2_case, "llama_gqa": llama_case,
         "llama_tied": lambda: llama_case(6, True), "qwen3": qwen3_case}


@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_equal(name):
  model, params, config = CASES[name]()
  jax.tree.map(lambda spec, x: np.testing.assert_equal(x.shape, spec.shape),
               param_specs(config), params, is_leaf=is_spec)
  params = jax.tree.map(jnp.asarray, params)
  tokens_BT = np.random.default_rng(0).integers(V, size=(2, T))
  theirs_BTV = model(torch.tensor(tokens_BT)).logits
  loss = torch.nn.functional.cross_entropy(
      theirs_BTV[:, :-1].flatten(0, 1),
      torch.tensor(tokens_BT[:, 1:]).flatten())
  loss.backward()
  tokens_BT = jnp.asarray(tokens_BT, jnp.int32)

  @jax.jit
  def ours(params):
    logits_BTV, _ = forward(params, tokens_BT, config)
    logprobs_BTV = jax.nn.log_softmax(logits_BTV[:, :-1])
    chosen = jnp.take_along_axis(logprobs_BTV, tokens_BT[:, 1:, None], -1)
    return -chosen.mean(), logits_BTV
  (value, logits_BTV), gradient = jax.value_and_grad(ours, has_aux=True)(params)
  theirs = theirs_BTV.detach().numpy()
  assert np.abs(theirs).max() > 0.5
  np.testing.assert_allclose(logits_BTV, theirs, atol=1e-4)
  np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
  # Tied weights have one gradient, from both ends.
  table = model.get_input_embeddings().weight.grad.numpy()
  np.testing.assert_allclose(gradient["embed"]["tokens"], table,
                             atol=1e-4 * np.abs(table).max())


@pytest.mark.parametrize("name", ["gpt2", "llama_gqa"])
def test_greedy_decoding_is_theirs(name):
  model, params, config = CASES[name]()
  prompt_BT = np.random.default_rng(1).integers(V, size=(2, 5))
  with torch.no_grad():
    theirs = model.generate(
        torch.tensor(prompt_BT), max_new_tokens=20, do_sample=False,
        attention_mask=torch.ones(2, 5), pad_token_id=0,
        eos_token_id=None).numpy()
  params = jax.tree.map(jnp.asarray, params)
  cache = init_cache(2, T, config)
  lengths_B = jnp.array([5, 5])
  logits_BV, cache = prefill(params, jnp.asarray(prompt_BT), lengths_B, cache,
                             config)
  step = jax.jit(decode_step, static_argnames="config")
  ours = []
  for i in range(20):
    token_B = jnp.argmax(logits_BV, -1)
    ours.append(token_B)
    logits_BV, cache = step(params, token_B, lengths_B + i, cache, config)
  np.testing.assert_array_equal(np.stack(ours, 1), theirs[:, 5:25])


def test_bfloat16_stays_close():
  model, params, config = llama_case()
  tokens_BT = np.random.default_rng(0).integers(V, size=(2, T))
  with torch.no_grad():
    theirs = model(torch.tensor(tokens_BT)).logits.numpy()
  logits_BTV, _ = forward(
      jax.tree.map(jnp.asarray, params), jnp.asarray(tokens_BT),
      dataclasses.replace(config, compute_dtype="bfloat16"))
  error = np.abs(np.asarray(logits_BTV) - theirs)
  assert error.mean() < 0.02 * np.abs(theirs).max()
