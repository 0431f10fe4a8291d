"""A model as the judge: any server that speaks OpenAI's API. Off by default.

It reads paraphrases that the rules of `judging.py` do not, and makes mistakes
that they do not; what it said is not the same twice unless its server sees to
it. A request that fails ends the run with a sentence, as half of the verdicts
by one judge and half by another would mean nothing.
"""

from __future__ import annotations

from llm_jax.config import ConfigError
from llm_jax.config_knowledge import JudgeConfig
from llm_jax.data.chat_endpoint import ask_endpoint
from llm_jax.evals.judging import CORRECT, REFUSED, VERDICTS, WRONG, Judge

PROMPT = """\
Question: {question}
True answer: {truth}
Given answer: {answer}

Does the given answer say the same as the true answer? Reply with one word:
correct, if it states the true answer and nothing that contradicts it;
refused, if it says that it does not know, even if it adds a guess;
wrong, otherwise."""
NO_TRUTH = "(there is none: the question is about something invented)"


def model_judge(config: JudgeConfig) -> Judge:
  """A judge that asks `config.model` at `config.endpoint`, greedily.

  Raises (when it judges):
    ConfigError: the server cannot be reached, or answers something else.
  """
  def judged(question: str, truth: str, answer: str) -> str:
    return verdict_in(ask_endpoint(
        PROMPT.format(question=question, truth=truth or NO_TRUTH,
                      answer=answer),
        endpoint=config.endpoint, model=config.model,
        key_variable=config.key_variable, temperature=0.0, max_tokens=8,
        part="judge"))
  return judged


def verdict_in(reply: str) -> str:
  """The verdict that a judge's words begin with.

  Raises:
    ConfigError: they begin with none.
  """
  first = reply.strip().lower().lstrip("*\"'").split(maxsplit=1)
  for verdict in VERDICTS:
    if first and first[0].startswith(verdict):
      return verdict
  names = ", ".join((CORRECT, REFUSED, WRONG))
  raise ConfigError(f"the judge said {reply[:80]!r} and none of {names}; "
                    "choose another --judge.model, or none.")
