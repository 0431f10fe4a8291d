"""Questions put in other words by any model with OpenAI's interface.

Templates are few, and people ask in more ways. A model that writes well can
rephrase them: only the question, so that the answer stays right. Off unless an
endpoint is named. What it writes passes a gate of its own: names, numbers and
what stands in quotes must all still be there, and nothing of the answer.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator

import numpy as np

from llm_jax.config import WriterConfig
from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.chat_endpoint import ask_endpoint
from llm_jax.data.conversations import Conversation
from llm_jax.data.synthetic.drafts import Draft

INSTRUCTION = (
    "Put this question in other words, as a person might ask it. Keep every "
    "name and number and whatever stands in quotes as it is. Reply with the "
    "question alone, in one line.\n\n")
MOST_TOKENS = 100
CHUNK = 32  # drafts that are rephrased at once
LONGEST = 3  # times as long as the question was


def rephrase(drafts: Iterator[Draft], config: WriterConfig,
             rng: np.random.Generator) -> Iterator[Draft]:
  """The drafts, a share of them with their question in other words.

  Raises:
    ConfigError: the endpoint cannot be asked.
  """
  if not config.endpoint:
    yield from drafts
    return
  with concurrent.futures.ThreadPoolExecutor(config.concurrency) as pool:
    while chunk := list(itertools.islice(drafts, CHUNK)):
      chosen = rng.random(len(chunk)) < config.share
      yield from pool.map(
          lambda pair: _rephrased(pair[0], config) if pair[1] else pair[0],
          zip(chunk, chosen))


def keeps_its_meaning(draft: Draft) -> bool:
  """Whether a rephrased question can stand for the one that was asked.

  One line, not the same, not much longer; with all names, numbers, quoted
  words and wishes ("Steps first.") of the question; without a number or value
  of the answer that the question has not.
  """
  question, written = (last_question(each) for each in (
      draft.checked, draft.conversation))
  answer = draft.checked.messages[-1]["content"]
  kept = [name for _, name in draft.keys if name in question]
  kept += re.findall(r"\d+|'[^' ]+'|(?:Steps|Answer) first\.", question)
  hidden = re.findall(r"\d+", answer) + [
      value for value in _values() if value in answer]
  return ("\n" not in written and written not in ("", question)
          and len(written) <= LONGEST * len(question) + 20
          and all(mark in written for mark in kept)
          and not any(mark in written and mark not in question
                      for mark in hidden))


def last_question(conversation: Conversation) -> str:
  """What the user said last."""
  return [message["content"] for message in conversation.messages
          if message["role"] == "user"][-1]


def _rephrased(draft: Draft, config: WriterConfig) -> Draft:
  """The draft with its question in other words, and as it was.

  Drafts of several questions stay: one may lean on another's words.
  """
  messages = list(draft.conversation.messages)
  asked = [i for i, message in enumerate(messages) if message["role"] == "user"]
  if len(asked) > 1:
    return draft
  question = messages[asked[0]]["content"]
  messages[asked[0]] = {"role": "user", "content": ask_endpoint(
      INSTRUCTION + question, endpoint=config.endpoint, model=config.model,
      key_variable=config.key_variable, temperature=config.temperature,
      max_tokens=MOST_TOKENS, part="writer")}
  return draft._replace(checked=draft.conversation,
                        conversation=dataclasses.replace(
                            draft.conversation, messages=tuple(messages),
                            source=config.model))


@functools.lru_cache
def _values() -> tuple[str, ...]:
  return tuple(value for attribute in ATTRIBUTES.values()
               for value in attribute.values)
