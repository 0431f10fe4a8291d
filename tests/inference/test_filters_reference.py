"""Filters and penalties against those of transformers."""

import numpy as np
import pytest

from llm_jax.config import SamplingConfig

pytestmark = pytest.mark.reference

CONFIGS = {
    "temperature": SamplingConfig(0.6),
    "top_k": SamplingConfig(top_k=7),
    "top_p": SamplingConfig(top_p=0.8),
    "min_p": SamplingConfig(min_p=0.1),
    "top_k, top_p": SamplingConfig(top_k=20, top_p=0.7),
    "repetition": SamplingConfig(repetition_penalty=1.4),
    "bias": SamplingConfig(logit_bias=("3:1.5", "40:-2", "41:4")),
    "all": SamplingConfig(1.4, 30, 0.9, min_p=0.05, repetition_penalty=0.8,
                          logit_bias=("3:-4", "11:2.5")),
}
PROMPT, COMPLETION = [3, 5, 5, 17], [41, 5, 90]


@pytest.mark.parametrize("vocab_size", [101, 3000])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_processors_of_generate(name, vocab_size):
  """The list that `generate` makes of these settings, in its own order."""
  import jax
  import jax.numpy as jnp
  import torch
  import transformers

  from llm_jax.inference.penalties import extend_history, init_history
  from llm_jax.inference.sampling import filter_logits
  config, rows = CONFIGS[name], 5
  logits_BV = 3 * np.random.default_rng(0).normal(
      size=(rows, vocab_size)).astype(np.float32)
  history = init_history(np.tile(PROMPT, (rows, 1)), np.full(rows, 4), config,
                         vocab_size)
  for token in COMPLETION:
    history = extend_history(history, jnp.full(rows, token))
  ours_BV = np.asarray(filter_logits(jnp.array(logits_BV), config, history))

  model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
      vocab_size=vocab_size, n_embd=8, n_layer=1, n_head=1, n_positions=16))
  settings = transformers.GenerationConfig(
      do_sample=True, temperature=config.temperature, top_k=config.top_k,
      top_p=config.top_p, min_p=config.min_p or None,
      repetition_penalty=config.repetition_penalty,
      sequence_bias={(token,): bias for token, bias in config.biases()}
      or None, bos_token_id=0, eos_token_id=1, pad_token_id=1)
  ids = torch.tensor(np.tile(PROMPT + COMPLETION, (rows, 1)))
  processors = model._get_logits_processor(
      generation_config=settings, input_ids_seq_length=ids.shape[1],
      encoder_input_ids=ids, prefix_allowed_tokens_fn=None,
      logits_processor=transformers.LogitsProcessorList(), device="cpu",
      model_kwargs={})
  names = [type(processor).__name__ for processor in processors]
  assert len(names) >= (6 if name == "all" else 1), names
  theirs_BV = processors(ids, torch.tensor(logits_BV)).numpy()
  np.testing.assert_array_equal(np.isinf(ours_BV), np.isinf(theirs_BV))
  np.testing.assert_allclose(jax.nn.softmax(ours_BV), jax.nn.softmax(theirs_BV),
                             atol=1e-6)
  # Neither has dropped everything, or nothing, where it should not have.
  kept = int(np.isfinite(ours_BV[0]).sum())
  narrow = name not in ("temperature", "repetition", "bias")
  assert 1 < kept < vocab_size if narrow else kept == vocab_size
