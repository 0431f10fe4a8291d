"""A folder that we wrote, opened by transformers as its users would."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ConfigError, ModelConfig, TokenizerConfig
from llm_jax.convert import load_pretrained, save_pretrained
from llm_jax.convert.named import resolve_named
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward
from llm_jax.tokenizer import chat
from llm_jax.tokenizer.bpe import train_bpe

pytestmark = pytest.mark.reference
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = ("a text", "  two  spaces\n", "Привет, 世界 🙂", "<|end|>", "12345")
MESSAGES = [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "A model."},
            {"role": "user", "content": "Thanks!"}]


def test_a_model_trained_here(tmp_path):
  config = ModelConfig(vocab_size=300, embed_dim=32, num_layers=2, num_heads=2,
                       num_kv_heads=1, head_dim=16, mlp_dim=48,
                       max_seq_len=128, qk_norm="head")
  params = init_params(jax.random.key(0), config)
  tokenizer = train_bpe([t for t in TEXTS if "<" not in t] * 4,
                        TokenizerConfig(vocab_size=280))
  save_pretrained(tmp_path / "out", params, config, tokenizer,
                  dtype="bfloat16")
  model, info = transformers.AutoModelForCausalLM.from_pretrained(
      tmp_path / "out", output_loading_info=True)
  assert not any(info.values()) and model.dtype == torch.bfloat16
  assert type(model).__name__ == "Qwen3ForCausalLM"
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
  for text in TEXTS[:3] + TEXTS[4:]:
    assert theirs(text)["input_ids"] == tokenizer.encode(text)
  ids = theirs.apply_chat_template(MESSAGES, add_generation_prompt=True)
  assert ids["input_ids"] == chat.render_prompt(MESSAGES, tokenizer)
  # Generation ends where a turn ends.
  assert model.generation_config.eos_token_id == list(chat.stop_ids(tokenizer))
  contents = json.loads((tmp_path / "out" / "config.json").read_text())
  assert contents["pad_token_id"] == tokenizer.special_tokens["<|pad|>"]
  with torch.no_grad():
    logits = model.float()(torch.tensor([ids["input_ids"]])).logits
  rounded = jax.tree.map(
      lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), params)
  ours, _ = forward(rounded, jnp.asarray([ids["input_ids"]]), config)
  np.testing.assert_allclose(ours, logits, atol=1e-5)


def test_the_named_model(tmp_path):
  """GGUF -> here -> Hugging Face: weights, ids and template."""
  try:
    resolve_named("smollm2-135m")
  except ConfigError as error:
    pytest.skip(str(error))
  params, config, tokenizer = load_pretrained("smollm2-135m")
  save_pretrained(tmp_path / "out", params, config, tokenizer)
  model, info = transformers.AutoModelForCausalLM.from_pretrained(
      tmp_path / "out", output_loading_info=True)
  assert not any(info.values())
  assert type(model).__name__ == "LlamaForCausalLM"
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
  for text in TEXTS[:3] + TEXTS[4:]:
    assert theirs(text)["input_ids"] == tokenizer.encode(text)
  ids = theirs.apply_chat_template(
      MESSAGES, add_generation_prompt=True)["input_ids"]
  assert ids == chat.render_prompt(MESSAGES, tokenizer)
  with torch.no_grad():
    logits = model(torch.tensor([ids])).logits.numpy()
  ours, _ = jax.jit(forward, static_argnums=2)(
      params, jnp.asarray([ids]), config)
  # Logits of order 40; relative to them, float32's own rounding.
  np.testing.assert_allclose(ours, logits, atol=1e-5 * np.abs(logits).max())
