"""Guessing changes how fast a model speaks, and nothing of what it says."""

import dataclasses

import jax
import numpy as np
import pytest
from exact_distribution import completions_before, p_value, sequence_probs

from llm_jax.config import ConfigError, MeshConfig, ModelConfig, SamplingConfig
from llm_jax.inference import speculative
from llm_jax.inference.completions import generate_tokens
from llm_jax.inference.generate import seed_keys
from llm_jax.inference.prompt_lookup import look_up
from llm_jax.inference.speculative import Speculation, speculate_tokens
from llm_jax.model.params import init_params
from llm_jax.model.quantization import quantize_weights
from llm_jax.model.transformer import forward
from llm_jax.sharding import make_mesh

MODEL = ModelConfig(vocab_size=31, embed_dim=16, num_layers=2, num_heads=4,
                    num_kv_heads=2, head_dim=4, mlp_dim=24, max_seq_len=40,
                    init_std=0.5)
DRAFT = dataclasses.replace(MODEL, num_layers=1, position="learned")
LEARNED = dataclasses.replace(MODEL, position="learned", max_seq_len=28)
PROMPTS = [[5, 9, 2], [1], [30, 7, 7, 4, 8, 11, 3], [2, 6]]

init = jax.jit(init_params, static_argnames="config")


@pytest.fixture(scope="module")
def models():
  return {config: init(jax.random.key(seed), config=config)
          for seed, config in enumerate((MODEL, DRAFT, LEARNED))}


GUESSERS = {
    "lookup": Speculation(min_ngram=1),
    "lookup_1": Speculation(num_guesses=1, max_ngram=2),
    "draft": Speculation(3, draft=DRAFT),
    "itself": Speculation(2, draft=MODEL),
}


@pytest.mark.parametrize("config, name, settings", [
    (MODEL, "lookup", {}),
    pytest.param(LEARNED, "lookup_1", {}, marks=pytest.mark.slow),
    pytest.param(MODEL, "itself", {}, marks=pytest.mark.slow),
    (MODEL, "draft", {"repetition_penalty": 1.2, "frequency_penalty": 0.3})])
def test_greedy_is_greedy_token_for_token(models, config, name, settings):
  """Ragged rows, stop tokens at any place, up to the model's last position."""
  speculation = GUESSERS[name]
  sampling = SamplingConfig(temperature=0.0, max_new_tokens=20, **settings)
  arguments = (PROMPTS, jax.random.key(0), sampling, config)
  stop_ids = () if name == "itself" else (4, 20)
  plain = generate_tokens(models[config], *arguments, prompt_len=8,
                          stop_ids=stop_ids)
  quick, stats = speculate_tokens(
      models[config], *arguments, speculation, prompt_len=8,
      draft_params=models.get(speculation.draft), stop_ids=stop_ids)
  for field in ("tokens_BT", "lengths_B", "stopped_B", "mask_BT"):
    np.testing.assert_array_equal(
        getattr(quick, field), getattr(plain, field), field)
  for field in ("logprobs_BT", "model_logprobs_BT"):
    np.testing.assert_allclose(
        getattr(quick, field), getattr(plain, field), atol=1e-4)
  # A reading gives its guesses that were kept and, unless the row ends within
  # them, one token more; the prompt gives one.
  extra_B = 1 + stats.rounds_B + stats.kept_B - plain.lengths_B
  assert set(extra_B.tolist()) <= {0, 1}
  if name == "itself":  # which is always right: 19 tokens by threes
    np.testing.assert_array_equal(stats.rounds_B, [7] * 4)


def test_a_text_that_repeats_is_read_in_leaps(models):
  """The model of one token for ever: each round keeps all its guesses."""
  sampling = SamplingConfig(temperature=0.0, max_new_tokens=21,
                            logit_bias=("9:1000",))
  quick, stats = speculate_tokens(
      models[MODEL], [[3, 9, 9]], jax.random.key(0), sampling, MODEL,
      Speculation(num_guesses=4), prompt_len=4)
  np.testing.assert_array_equal(quick.tokens_BT, np.full((1, 21), 9))
  assert stats.rounds_B == [4] and stats.kept_B == [16]


# --- the distribution --------------------------------------------------------

SMALL = ModelConfig(vocab_size=5, embed_dim=8, num_layers=1, num_heads=2,
                    num_kv_heads=1, head_dim=4, mlp_dim=8, max_seq_len=16,
                    init_std=0.6)
SMALL_DRAFT = dataclasses.replace(SMALL, embed_dim=4)
PROMPT, LENGTH, DRAWS = [1, 2, 0, 1, 2], 3, 8000
SAMPLERS = {
    "plain": SamplingConfig(max_new_tokens=LENGTH),
    "filtered": SamplingConfig(0.8, 4, 0.9, LENGTH, min_p=0.15),
    "penalties": SamplingConfig(
        1.2, max_new_tokens=LENGTH, repetition_penalty=1.5,
        frequency_penalty=0.4, presence_penalty=0.3, logit_bias=("3:0.7",)),
}


@pytest.fixture(scope="module")
def small():
  """(parameters, the draft model's, completion -> logits)."""
  params = init(jax.random.key(3), config=SMALL)
  draft_params = init(jax.random.key(4), config=SMALL_DRAFT)
  completions = completions_before(SMALL.vocab_size, LENGTH)
  tokens_BT = np.zeros((len(completions), len(PROMPT) + LENGTH), np.int32)
  for row, completion in enumerate(completions):
    tokens_BT[row, :len(PROMPT) + len(completion)] = [*PROMPT, *completion]
  logits_BTV, _ = jax.jit(forward, static_argnames="config")(
      params, tokens_BT, config=SMALL)
  logits = {completion: np.asarray(logits_BTV[row, len(PROMPT) - 1
                                              + len(completion)])
            for row, completion in enumerate(completions)}
  return params, draft_params, logits.__getitem__


def drawn(small, sampling, speculation, stop_ids=()):
  """(completions of many rows, guesses kept, readings)."""
  params, draft_params, _ = small
  samples, stats = speculate_tokens(
      params, [PROMPT], jax.random.key(5), sampling, SMALL, speculation,
      prompt_len=6, draft_params=draft_params, stop_ids=stop_ids,
      samples_per_prompt=DRAWS)
  rows = [tuple(tokens[:length]) for tokens, length in
          zip(samples.tokens_BT.tolist(), samples.lengths_B.tolist())]
  return rows, int(stats.kept_B.sum()), int(stats.rounds_B.sum())


@pytest.mark.parametrize("name, draft", [
    pytest.param(
        name, draft, id=f"{name}-{'draft' if draft else 'lookup'}",
        # Each sampler once among the quick ones, and each kind of guess.
        marks=[] if bool(draft) == (name == "plain") else pytest.mark.slow)
    for name in SAMPLERS for draft in (None, SMALL_DRAFT)])
def test_the_distribution_is_the_models(small, name, draft):
  """All 125 completions of three tokens, with the probability they have."""
  sampling = SAMPLERS[name]
  exact = sequence_probs(small[2], sampling, PROMPT, SMALL.vocab_size, LENGTH)
  assert len(exact) == 125 and abs(sum(exact.values()) - 1) < 1e-9
  rows, kept, rounds = drawn(small, sampling, Speculation(2, 3, 1, draft))
  assert 0.05 < kept / (2 * rounds) < 0.9  # both branches are taken
  assert p_value(rows, exact) > 1e-4


@pytest.mark.slow
def test_stop_tokens_are_drawn_as_often_as_they_should(small):
  sampling = SAMPLERS["plain"]
  exact = sequence_probs(small[2], sampling, PROMPT, SMALL.vocab_size, LENGTH,
                         stop_ids=(0, 4))
  for draft in (None, SMALL_DRAFT):
    rows, _, _ = drawn(small, sampling, Speculation(2, 3, 1, draft), (0, 4))
    assert p_value(rows, exact) > 1e-4


@pytest.mark.parametrize("rule, draft", [
    ("is_kept", None), ("ratio", None), ("remainder", SMALL_DRAFT),
    ("ratio", SMALL_DRAFT)], ids=lambda x: x if isinstance(x, str) else None)
@pytest.mark.slow
def test_another_rule_would_be_noticed(small, monkeypatch, rule, draft):
  wrong = {
      # Keeps whatever was guessed.
      "is_kept": ("is_kept", lambda u_BK, p_BK, q_BK: u_BK < 2),
      # Draws from p, not from what q left of it.
      "remainder": ("remainder", lambda p_BV, q_BV: p_BV),
      # Keeps a guess with probability p, whatever q was; or too often.
      "ratio": ("is_kept", lambda u_BK, p_BK, q_BK:
                u_BK * (0.8 if draft is None else 1.0) < p_BK),
  }[rule]
  monkeypatch.setattr(speculative, *wrong)
  monkeypatch.setattr(speculative, "_generate", jax.jit(
      lambda *args, **kwargs: speculative.generate_speculative(*args, **kwargs),
      static_argnums=(4, 5, 6),
      static_argnames=("stop_ids", "samples_per_prompt")))
  sampling = SAMPLERS["plain"]
  exact = sequence_probs(small[2], sampling, PROMPT, SMALL.vocab_size, LENGTH)
  rows, _, _ = drawn(small, sampling, Speculation(2, 3, 1, draft))
  assert p_value(rows, exact) < 1e-6


# --- the rest ----------------------------------------------------------------


@pytest.mark.slow
def test_log_probabilities_are_those_of_plain_generation(models):
  """Of the tokens that were drawn, by one pass over them."""
  sampling = SamplingConfig(temperature=0.7, max_new_tokens=10)
  samples, _ = speculate_tokens(
      models[MODEL], PROMPTS, jax.random.key(1), sampling, MODEL,
      GUESSERS["draft"], prompt_len=8, draft_params=models[DRAFT])
  for row, prompt in enumerate(PROMPTS):
    tokens = [*prompt, *samples.tokens_BT[row].tolist()]
    padded = np.array([tokens + [0] * (17 - len(tokens))])
    logits_BTV, _ = jax.jit(forward, static_argnames="config")(
        models[MODEL], padded, config=MODEL)
    for scale, logprobs_BT in ((1.0, samples.model_logprobs_BT),
                               (0.7, samples.logprobs_BT)):
      all_TV = jax.nn.log_softmax(logits_BTV[0] / scale)
      places = np.arange(len(prompt) - 1, len(tokens) - 1)
      np.testing.assert_allclose(
          logprobs_BT[row], all_TV[places, tokens[len(prompt):]], atol=1e-5)


@pytest.mark.slow
def test_a_seeds_text_has_no_neighbours(models):
  """Rows of other prompts, speeds and seeds beside it change nothing."""
  sampling = SamplingConfig(max_new_tokens=12)
  texts = []
  for others in ((1, 2, 3), (7, 8, 9)):
    prompts = [PROMPTS[0], *(PROMPTS[others[0] % 4:] + PROMPTS)[:3]]
    samples, _ = speculate_tokens(
        models[MODEL], prompts, seed_keys((42, *others)), sampling, MODEL,
        GUESSERS["draft"], prompt_len=8, draft_params=models[DRAFT])
    texts.append(samples.tokens_BT)
  np.testing.assert_array_equal(texts[0][0], texts[1][0])
  assert (texts[0][1:] != texts[1][1:]).any()


@pytest.mark.slow
def test_int8_weights_and_caches_and_bfloat16(models):
  config = dataclasses.replace(MODEL, cache_dtype="int8",
                               compute_dtype="bfloat16")
  params = quantize_weights(models[MODEL])
  sampling = SamplingConfig(temperature=0.0, max_new_tokens=8)
  quick, _ = speculate_tokens(
      params, PROMPTS, jax.random.key(0), sampling, config, Speculation(),
      prompt_len=8)
  plain = generate_tokens(params, PROMPTS, jax.random.key(0), sampling, config,
                          prompt_len=8)
  # Products of several rows may round otherwise: near-ties, which are few.
  assert (quick.tokens_BT == plain.tokens_BT).mean() > 0.6


@pytest.mark.slow
def test_a_mesh_changes_nothing(models):
  sampling = SamplingConfig(max_new_tokens=6)
  arguments = (PROMPTS, jax.random.key(9), sampling, MODEL, GUESSERS["lookup"])
  alone, _ = speculate_tokens(models[MODEL], *arguments, prompt_len=8)
  with jax.set_mesh(make_mesh(MeshConfig(data=4, fsdp=2))):
    split, _ = speculate_tokens(models[MODEL], *arguments, prompt_len=8)
  np.testing.assert_array_equal(alone.tokens_BT, split.tokens_BT)


@pytest.mark.slow
def test_look_up_by_hand():
  def guesses(text, count=4, ngram=3):
    padded = np.array([text + [99] * 5])
    guesses_BK, run_B = look_up(padded, np.array([len(text) - 1]), count,
                                ngram)
    return guesses_BK[0].tolist() if run_B[0] else None

  # The longest run wins (2 3 4), then the latest; the rest is not looked at.
  assert guesses([2, 3, 4, 5, 6, 7, 8, 3, 4, 9, 2, 3, 4]) == [5, 6, 7, 8]
  assert guesses([4, 5, 6, 4, 7, 4], 2) == [7, 4]
  # What ends with the text goes on in its period.
  assert guesses([1, 2, 3, 1, 2, 3]) == [1, 2, 3, 1]
  assert guesses([8, 8]) == [8, 8, 8, 8]
  # Nothing to go by.
  assert guesses([1, 2, 3]) is None
  # Runs that are longer than asked for do not count.
  assert guesses([1, 2, 5, 9, 2, 6, 1, 2], 1, ngram=1) == [6]


def test_mistakes_are_told(models):
  def run(speculation=None, prompts=PROMPTS, **settings):
    return speculate_tokens(
        models[MODEL], prompts, jax.random.key(0),
        SamplingConfig(**{"max_new_tokens": 9, **settings}), MODEL,
        speculation or Speculation(), prompt_len=8, draft_params={})

  with pytest.raises(ConfigError, match="max_seq_len=40"):
    run(max_new_tokens=33)
  with pytest.raises(ConfigError, match="num_guesses=0"):
    run(Speculation(num_guesses=0))
  with pytest.raises(ConfigError, match="shares the tokenizer"):
    run(Speculation(draft=SMALL))
  with pytest.raises(ConfigError, match="draft model was built for"):
    run(Speculation(draft=dataclasses.replace(DRAFT, max_seq_len=16)))
  with pytest.raises(ConfigError, match="stop"):
    run(stop=("x",))
