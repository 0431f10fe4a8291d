"""Cases are put to a model: an assistant with its tools, or a base model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax

from llm_jax.config import SamplingConfig
from llm_jax.evals.psychology.cases import Condition, Said, Section
from llm_jax.evals.respondent import Respondent
from llm_jax.inference.tool_loop import ANSWERED, run_all
from llm_jax.inference.tools import Tool
from llm_jax.tokenizer.chat import can_call_tools

BATCH_OF_PROGRESS = 4  # batches between two lines of progress


@dataclasses.dataclass(frozen=True)
class Subject:
  """A model that is examined.

  Attributes:
    model: the model and its manner.
    tools: by name, all that a condition may offer.
    temperature: of the answers; 0 is greedy.
    max_calls: of one conversation.
    max_new_tokens: of an answer at most, whatever a condition allows.
  """
  model: Respondent
  tools: Mapping[str, Tool]
  temperature: float = 0.0
  max_calls: int = 4
  max_new_tokens: int = 256


def can_be_asked(condition: Condition, subject: Subject) -> bool:
  """Whether this model can be put in a condition: a base model calls no tools,
  a vocabulary may have no way to, and a tool may not be there."""
  return not condition.tools or (
      subject.model.style == "chat"
      and can_call_tools(subject.model.tokenizer)
      and set(condition.tools) <= set(subject.tools))


def answers(condition: Condition, section: Section, subject: Subject,
            progress: Callable[[int], None]) -> list[Said]:
  """What is said to each case of a condition.

  Args:
    condition: one for which `can_be_asked`.
    section: that it is of.
    subject: who is asked.
    progress: told how many cases are done.
  """
  model = dataclasses.replace(subject.model, shots=section.shots)
  most = min(condition.max_new_tokens, subject.max_new_tokens)
  chunk = BATCH_OF_PROGRESS * model.batch_size
  longest = max(len(model.encode(case.ask)) for case in condition.cases)
  said: list[Said] = []
  for start in range(0, len(condition.cases), chunk):
    cases = condition.cases[start:start + chunk]
    if condition.tools:
      said += _with_tools(condition, [case.ask for case in cases], subject,
                          most, start)
    else:
      found = model.answer_all(
          [case.ask for case in cases], most, first=start, longest=longest,
          temperature=subject.temperature)
      said += [Said(({"role": "assistant", "content": each.text},),
                    each.stopped) for each, in found]
    progress(len(said))
  return said


def _with_tools(condition: Condition, asks: Sequence, subject: Subject,
                max_new_tokens: int, first: int) -> list[Said]:
  model = subject.model
  conversations = []
  for ask in asks:
    conversations.append([{"role": "user", "content": ask.question}])
    if ask.system:
      conversations[-1].insert(0, {"role": "system", "content": ask.system})
  outcomes = run_all(
      model.params, conversations,
      [subject.tools[name] for name in condition.tools], model.tokenizer,
      SamplingConfig(temperature=subject.temperature,
                     max_new_tokens=max_new_tokens), model.config,
      key=jax.random.fold_in(jax.random.key(model.seed), first),
      batch_size=model.batch_size, max_calls=subject.max_calls)
  return [Said(tuple(map(dict, outcome.messages)), outcome.status == ANSWERED)
          for outcome in outcomes]
