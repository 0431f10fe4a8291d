"""How questions are put, and that answers do not depend on their company."""

import jax
import pytest

from llm_jax.config import ConfigError, ModelConfig, TokenizerConfig
from llm_jax.evals.respondent import Ask, Respondent, few_shot_document
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.chat import render_prompt

TOKENIZER = train_bpe(["a text"], TokenizerConfig(vocab_size=264))
MODEL = ModelConfig(vocab_size=264, embed_dim=16, num_layers=1, num_heads=2,
                    num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=96)
SHOTS = (("One?", "1"),)


@pytest.fixture(scope="module")
def params():
  return jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)


def respondent(params, **changes):
  return Respondent(params, MODEL, TOKENIZER, **{"batch_size": 4} | changes)


def test_an_assistant_is_asked_in_its_template():
  model = respondent({})
  user = {"role": "user", "content": "Who?"}
  assert model.encode(Ask("Who?")) == render_prompt([user], TOKENIZER)
  assert model.encode(Ask("Who?", "cloze", "#### ", "Be brief.")) == (
      render_prompt([{"role": "system", "content": "Be brief."}, user],
                    TOKENIZER) + TOKENIZER.encode("#### "))


def test_a_base_model_is_given_a_document():
  model = respondent({}, style="base", shots=SHOTS)
  start, *text = model.encode(Ask("Two?"))
  assert start == TOKENIZER.endoftext_id
  assert TOKENIZER.decode(text) == few_shot_document(SHOTS, "Two?") == (
      "Question: One?\nAnswer: 1\n\nQuestion: Two?\nAnswer:")
  _, *text = model.encode(Ask("Two?", cloze="Two is"))
  assert TOKENIZER.decode(text) == "Two is"


def test_parts_give_what_the_whole_gives(params):
  model = respondent(params)
  asks = [Ask(text) for text in ("a", "bb", "ccc", "a", "eeeee")]
  options = dict(temperature=1.0, samples=2)
  whole = model.answer_all(asks, 6, **options)
  longest = max(len(model.encode(ask)) for ask in asks)
  parts = [answers for start in (0, 2, 4) for answers in model.answer_all(
      asks[start:start + 2], 6, first=start, longest=longest, **options)]
  assert parts == whole and len(whole) == 5
  assert all(len(answers) == 2 for answers in whole)
  assert whole[0] != whole[3]  # the same question, another draw
  assert all(0 < a.tokens <= 6 for answers in whole for a in answers)


def test_a_question_must_fit(params):
  with pytest.raises(ConfigError, match="leaves 16 beside an answer of 80"):
    respondent(params).answer_all([Ask("a" * 40)], 80)
