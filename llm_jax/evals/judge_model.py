"""A model as the judge: any server that speaks OpenAI's API. Off by default.

It reads paraphrases that the rules of `judging.py` do not, and makes mistakes
that they do not; what it said is not the same twice unless its server sees to
it. A request that fails ends the run with a sentence, as half of the verdicts
by one judge and half by another would mean nothing.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from llm_jax.config import ConfigError
from llm_jax.config_knowledge import JudgeConfig
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
_SECONDS = 60
_TRIES = 3


def model_judge(config: JudgeConfig) -> Judge:
  """A judge that asks `config.model` at `config.endpoint`, greedily.

  Raises (when it judges):
    ConfigError: the server cannot be reached, or answers something else.
  """
  url = config.endpoint.rstrip("/") + "/chat/completions"

  def judged(question: str, truth: str, answer: str) -> str:
    content = PROMPT.format(question=question, truth=truth or NO_TRUTH,
                            answer=answer)
    body = json.dumps({
        "model": config.model, "temperature": 0, "max_tokens": 8,
        "messages": [{"role": "user", "content": content}]}).encode()
    return verdict_in(_reply(url, body, os.environ.get(config.key_variable)))
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


def _reply(url: str, body: bytes, key: str | None) -> str:
  headers = {"Content-Type": "application/json"}
  if key:
    headers["Authorization"] = f"Bearer {key}"
  error: Exception | None = None
  for _ in range(_TRIES):
    request = urllib.request.Request(url, body, headers)
    try:
      with urllib.request.urlopen(request, timeout=_SECONDS) as response:
        reply = json.load(response)
      return str(reply["choices"][0]["message"]["content"] or "")
    except urllib.error.HTTPError as failed:
      error = failed
      if failed.code < 500 and failed.code != 429:
        break
    except (OSError, ValueError) as failed:
      error = failed
    except (KeyError, IndexError, TypeError) as failed:
      raise ConfigError(f"the judge at {url} answered in another form than "
                        "OpenAI's chat completions; give the address of such "
                        "a server as --judge.endpoint.") from failed
  raise ConfigError(f"the judge at {url} cannot be asked ({error}); start its "
                    "server, or leave --judge.endpoint out.") from error
