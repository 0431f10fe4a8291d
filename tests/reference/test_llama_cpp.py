"""Our GGUF files in llama.cpp itself: the same logits, tokens and stops.

llama-cpp-python has no wheel; `make test-all` builds it once (some minutes,
with a C++ compiler). Where it could not be built these tests are skipped.
"""

import ctypes
import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sentencepiece

from llm_jax.config import ConfigError, SamplingConfig
from llm_jax.convert.gguf import load_gguf, save_gguf
from llm_jax.convert.gguf_file import read_file
from llm_jax.convert.named import resolve_named
from llm_jax.convert.pretrained import load_pretrained, save_pretrained
from llm_jax.inference.streaming import stream
from llm_jax.model.transformer import forward
from llm_jax.tokenizer import chat, gguf_splits
from llm_jax.tokenizer.gguf import read_tokenizer
from llm_jax.tokenizer.huggingface import HuggingFaceTokenizer
from llm_jax.tokenizer.sentencepiece import SentencePieceTokenizer
from tests.convert.gguf_models import (
    CASES, T, TEXT, V, tiny_params, tiny_tokenizer)
from tests.reference.tokenizer_texts import TEXTS

llama_cpp = pytest.importorskip(
    "llama_cpp", reason="llama-cpp-python is not built: make .venv/.llama_cpp")
pytestmark = pytest.mark.reference

GREEDY = SamplingConfig(temperature=0.0, max_new_tokens=32)
MESSAGES = [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": "It's 1234 o'clock"},
            {"role": "assistant", "content": "then we'll see"},
            {"role": "user", "content": "The model"}]


@pytest.fixture(scope="module", autouse=True)
def quiet():
  """llama.cpp tells what it does at length."""
  callback = llama_cpp.llama_log_callback(lambda level, text, data: None)
  llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
  yield
  llama_cpp.llama_log_set(llama_cpp.llama_log_callback(),
                          ctypes.c_void_p(0))


def opened(file, n_ctx=T):
  """A model in llama.cpp, its cache in float32 as ours is."""
  return llama_cpp.Llama(
      str(file), n_ctx=n_ctx, logits_all=True, n_threads=1, n_threads_batch=1,
      verbose=False, flash_attn=False, type_k=llama_cpp.GGML_TYPE_F32,
      type_v=llama_cpp.GGML_TYPE_F32)


def their_logits(model, ids):
  model.reset()
  model.eval(ids)
  return np.array(model.scores[:len(ids)])


def our_logits(params, ids, config):
  return np.asarray(forward(params, jnp.asarray([ids]), config)[0][0])


def their_tokens(model, ids, count):
  """Greedy, as many as asked for or up to the end of an answer."""
  model.reset()
  model.eval(ids)
  found = []
  for _ in range(count):
    found.append(int(np.argmax(model.scores[model.n_tokens - 1])))
    if llama_cpp.llama_vocab_is_eog(model._model.vocab, found[-1]):
      break
    model.eval(found[-1:])
  return found


@pytest.fixture(scope="module")
def tokenizer():
  return tiny_tokenizer()


@pytest.mark.parametrize("case", CASES)
def test_logits_of_every_architecture(case, tokenizer, tmp_path):
  """Windows are shorter than the text; longrope is beyond its first context."""
  _, config = CASES[case]
  params = tiny_params(config)
  save_gguf(tmp_path / "m.gguf", params, config, tokenizer, "f32")
  ids = tokenizer.encode(TEXT)[:24]
  ours = our_logits(params, ids, config)
  theirs = their_logits(opened(tmp_path / "m.gguf"), ids)
  assert 0.5 < ours.std() < 10
  # llama.cpp looks GELU up in a table of float16.
  bound = 1e-4 if config.mlp == "swiglu" else 1e-2
  assert np.abs(ours - theirs).max() < bound


@pytest.fixture(scope="module")
def trained(tokenizer, tmp_path_factory):
  """A model like the quickstart's that knows its text, and its file."""
  config = CASES["qwen3"][1]
  ids = tokenizer.encode(TEXT * 4)
  rows_BT = jnp.asarray([ids[i:i + 48] for i in range(0, 64, 2)])
  params = tiny_params(config)
  optimizer = optax.adam(3e-3)

  @jax.jit
  def step(params, state):
    def loss(params):
      logits, _ = forward(params, rows_BT[:, :-1], config)
      return optax.softmax_cross_entropy_with_integer_labels(
          logits, rows_BT[:, 1:]).mean()
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state, value

  state = optimizer.init(params)
  for _ in range(60):
    params, state, value = step(params, state)
  assert value < 1
  return params, config, tmp_path_factory.mktemp("trained")


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_the_same_32_tokens(kind, trained, tokenizer):
  """Of a model trained here; from float32 and float16 to the letter."""
  params, config, folder = trained
  file = folder / f"{kind}.gguf"
  save_gguf(file, params, config, tokenizer, kind)
  model = opened(file)
  ids = tokenizer.encode(TEXT)[:12]
  again, config_again, _ = load_gguf(file, "float32")
  ours = list(stream(again, ids, jax.random.key(0), GREEDY, config_again))
  theirs = their_tokens(model, ids, 32)
  if kind in ("f32", "f16"):
    assert len(theirs) == 32 and ours == theirs
  else:  # llama.cpp also rounds activations: to bfloat16, or to 8 bits
    scale = our_logits(params, ids, config).std()
    error = np.abs(our_logits(again, ids, config_again)
                   - their_logits(model, ids)).max()
    assert error < 0.1 * scale
    assert ours[:8] == theirs[:8]


@pytest.mark.parametrize("max_digits", [1, 3])
def test_text_is_cut_alike(max_digits, tmp_path):
  tokenizer = tiny_tokenizer(max_digits)
  config = CASES["qwen3"][1]
  save_gguf(tmp_path / "m.gguf", tiny_params(config), config, tokenizer)
  model = opened(tmp_path / "m.gguf")
  for text in [TEXT, *TEXTS]:
    theirs = model.tokenize(text.encode(), add_bos=False, special=False)
    assert theirs == tokenizer.encode(text), text
    assert model.detokenize(theirs, special=False) in (
        text.encode(), text.encode().removeprefix(b" "))


@pytest.mark.parametrize("pre", [
    "llama-bpe", "dbrx", "qwen2", "gpt-2", "smollm", "gpt-4o", "tekken",
    "deepseek-v3"])
def test_every_named_split(pre, tmp_path):
  """The steps that we take a name for are those that llama.cpp takes."""
  contents = tiny_tokenizer().as_json()
  contents["pre_tokenizer"] = {"type": "Sequence",
                               "pretokenizers": list(gguf_splits.STEPS[pre])}
  contents["model"]["ignore_merges"] = pre in gguf_splits.WHOLE_PIECES
  tokenizer = HuggingFaceTokenizer(json.dumps(contents))
  config = CASES["llama"][1]
  save_gguf(tmp_path / "m.gguf", tiny_params(config), config, tokenizer)
  model = opened(tmp_path / "m.gguf")
  assert model.metadata["tokenizer.ggml.pre"] == pre
  for text in [TEXT, *TEXTS]:
    ids = model.tokenize(text.encode(), add_bos=False, special=False)
    assert ids == tokenizer.encode(text), text


@pytest.mark.parametrize("add_space", [False, True])
def test_sentencepiece_cuts_alike(add_space, tmp_path):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter([TEXT.strip()] * 9), model_writer=model,
      model_type="bpe", vocab_size=V + 60, byte_fallback=True,
      normalization_rule_name="identity", remove_extra_whitespaces=False,
      add_dummy_prefix=add_space, minloglevel=2)
  tokenizer = SentencePieceTokenizer(model.getvalue())
  config = dataclasses.replace(CASES["llama"][1], vocab_size=V + 64)
  save_gguf(tmp_path / "m.gguf", tiny_params(config), config, tokenizer)
  theirs = opened(tmp_path / "m.gguf")
  again = load_gguf(tmp_path / "m.gguf")[2]
  for text in [TEXT, *TEXTS]:
    ids = theirs.tokenize(text.encode(), add_bos=False, special=False)
    assert ids == tokenizer.encode(text) == again.encode(text), text


def test_the_named_model_s_vocabulary():
  try:
    file = resolve_named("smollm2-135m")
  except ConfigError as error:
    pytest.skip(str(error))
  tokenizer = read_tokenizer(read_file(file).fields, str(file))
  model = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
  for text in [TEXT, *TEXTS, "<|im_start|>user\n<repo_name>a<|im_end|>"]:
    for special in (False, True):
      assert model.tokenize(
          text.encode(), add_bos=False, special=special) == tokenizer.encode(
              text, allow_special=special), text


@pytest.mark.slow
def test_the_named_model_exported(tmp_path):
  """SmolLM2 written in float32, where llama.cpp rounds nothing."""
  try:
    resolve_named("smollm2-135m")
  except ConfigError as error:
    pytest.skip(str(error))
  params, config, tokenizer = load_pretrained("smollm2-135m")
  file = save_pretrained(tmp_path / "model.gguf", params, config, tokenizer,
                         format="gguf", dtype="float32")
  ids = chat.render_prompt(MESSAGES, tokenizer)
  ours = our_logits(params, ids, config)
  theirs = their_logits(opened(file, n_ctx=128), ids)
  file.unlink()
  assert np.abs(ours - theirs).max() < 1e-4 * ours.std()
  np.testing.assert_array_equal(ours.argmax(-1), theirs.argmax(-1))


def test_chat_and_stop(trained, tokenizer):
  """Their template's prompt has our ids, and their stop is our stop."""
  params, config, folder = trained
  file = folder / "chat.gguf"
  save_gguf(file, params, config, tokenizer, "f32")
  model = opened(file)
  from llama_cpp.llama_chat_format import Jinja2ChatFormatter
  formatter = Jinja2ChatFormatter(
      template=model.metadata["tokenizer.chat_template"],
      bos_token="<|endoftext|>", eos_token="<|end|>")
  prompt = formatter(messages=MESSAGES).prompt
  theirs = model.tokenize(prompt.encode(), add_bos=False, special=True)
  assert theirs == chat.render_prompt(MESSAGES, tokenizer)
  special = tokenizer.special_tokens
  assert model.token_eos() == special["<|end|>"]
  assert model.token_bos() == special["<|endoftext|>"]
  vocab = model._model.vocab
  ends = {name for name, i in special.items()
          if llama_cpp.llama_vocab_is_eog(vocab, i)}
  assert ends == {"<|end|>", "<|endoftext|>"}
  said = model.create_chat_completion(MESSAGES, max_tokens=4, temperature=0)
  assert isinstance(said["choices"][0]["message"]["content"], str)


@pytest.mark.parametrize("kind, error", [
    ("Q4_K_M", 0.1), ("Q6_K", 0.03), ("Q5_K_M", 0.06), ("Q3_K_M", 0.2),
    ("Q2_K", 0.4), ("IQ4_NL", 0.1)])
def test_what_llama_cpp_quantises_is_read(kind, error, tokenizer, tmp_path):
  """Their own quantiser's files; weights within its steps of what they were."""
  config = dataclasses.replace(
      CASES["llama"][1], embed_dim=256, mlp_dim=256, head_dim=64, num_layers=2)
  params = tiny_params(config)
  save_gguf(tmp_path / "f32.gguf", params, config, tokenizer, "f32")
  settings = llama_cpp.llama_model_quantize_default_params()
  settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
  assert llama_cpp.llama_model_quantize(
      str(tmp_path / "f32.gguf").encode(), str(tmp_path / "q.gguf").encode(),
      ctypes.byref(settings)) == 0
  again, config_again, _ = load_gguf(tmp_path / "q.gguf")
  assert config_again == config
  for name in ("up", "gate", "down"):
    was, now = (np.asarray(p["layers"][0]["mlp"][name])
                for p in (params, again))
    relative = np.sqrt(np.mean((was - now) ** 2) / np.mean(was ** 2))
    assert 0 < relative < error
  ids = tokenizer.encode(TEXT)[:24]
  ours = our_logits(again, ids, config)
  theirs = their_logits(opened(tmp_path / "q.gguf"), ids)
  # llama.cpp also rounds activations to 8 bits.
  assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.1 * ours.std()
