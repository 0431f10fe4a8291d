"""A model that is asked questions, many at once and several times each.

An assistant is asked in its chat template. A base model only continues
documents: it is asked within a document of questions that have answers
(few-shot), or with the beginning of a sentence that the answer ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax

from llm_jax.config import ModelConfig, SamplingConfig, require
from llm_jax.data.synthetic import first_sentences
from llm_jax.inference.completions import generate_texts
from llm_jax.model.params import Params
from llm_jax.tokenizer.chat import render_prompt, stop_ids
from llm_jax.tokenizer.protocol import Tokenizer

STYLES = ("chat", "base")
_BUCKET = 32  # prompt lengths are rounded up, to compile few programs


@dataclasses.dataclass(frozen=True)
class Ask:
  """One question, as it is put.

  Attributes:
    question: the user's words.
    cloze: the beginning of a sentence that the answer ends; what a base model
      is given in place of the question, where there is one.
    opening: what the answer is made to begin with.
    system: the system message; "": none.
  """
  question: str
  cloze: str = ""
  opening: str = ""
  system: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
  """What was said, without what the answer was made to begin with.

  Attributes:
    text: the words; of a base model the first sentence.
    tokens: how many tokens were drawn, the last one of them included.
    stopped: whether it ended by itself.
  """
  text: str
  tokens: int
  stopped: bool


@dataclasses.dataclass(frozen=True)
class Respondent:
  """A model and the manner in which it is asked.

  Attributes:
    params: its parameters, layers unstacked.
    config: the model.
    tokenizer: its tokenizer.
    style: "chat" or "base".
    shots: (question, answer) pairs that a base model is shown.
    batch_size: answers drawn at once.
    seed: of the draws.
    name: what it is called in reports.
  """
  params: Params
  config: ModelConfig
  tokenizer: Tokenizer
  style: str = "chat"
  shots: tuple[tuple[str, str], ...] = ()
  batch_size: int = 64
  seed: int = 0
  name: str = ""

  def encode(self, ask: Ask) -> list[int]:
    """The tokens of a prompt, after which the answer comes."""
    if self.style == "chat":
      messages = [{"role": "user", "content": ask.question}]
      if ask.system:
        messages.insert(0, {"role": "system", "content": ask.system})
      return (render_prompt(messages, self.tokenizer)
              + self.tokenizer.encode(ask.opening))
    start = self.tokenizer.start_token_id
    text = ask.cloze or few_shot_document(self.shots, ask.question)
    return [self.tokenizer.endoftext_id if start is None else start,
            *self.tokenizer.encode(text + ask.opening)]

  def answer_all(self, asks: Sequence[Ask], max_new_tokens: int, *,
                 temperature: float = 0.0, samples: int = 1,
                 first: int = 0, longest: int = 0) -> list[list[Answer]]:
    """`samples` answers to each question.

    The draws of question n depend on (seed, first + n) alone, not on the
    others or on the batch size.

    Args:
      asks: the questions.
      max_new_tokens: of an answer at most.
      temperature: 0 is greedy.
      samples: how many of each.
      first: number of the first question.
      longest: tokens of the longest prompt of all, where these are a part of
        them: one compiled shape for every part, and the same draws.

    Raises:
      ConfigError: a prompt and its answer exceed the context.
    """
    sampling = SamplingConfig(
        temperature=temperature, max_new_tokens=max_new_tokens,
        stop=("\n",) if self.style == "base" else ())
    stops = (stop_ids(self.tokenizer) if self.style == "chat"
             else (self.tokenizer.endoftext_id,))
    prompts = [self.encode(ask) for ask in asks]
    longest = max(longest, *map(len, prompts), 1)
    room = self.config.max_seq_len - max_new_tokens
    require(longest <= room, f"a question takes {longest} tokens, and the "
            f"model's context of {self.config.max_seq_len} leaves {room} "
            f"beside an answer of {max_new_tokens}; ask shorter ones, show "
            "fewer examples, or lower max_new_tokens.")
    prompt_len = min(-(-longest // _BUCKET) * _BUCKET, room)
    rows = max(1, self.batch_size // samples)
    found: list[list[Answer]] = []
    for start in range(0, len(prompts), rows):
      drawn, texts = generate_texts(
          self.params, prompts[start:start + rows], self.tokenizer,
          jax.random.key(self.seed), sampling, self.config,
          prompt_len=prompt_len, stop_ids=stops, samples_per_prompt=samples,
          first_row=(first + start) * samples, num_rows=rows)
      if self.style == "base":  # it goes on to the next thing
        texts = [first_sentences(text.strip(), 1) for text in texts]
      flat = [Answer(text.strip(), int(length), bool(stopped))
              for text, length, stopped in zip(
                  texts, drawn.lengths_B, drawn.stopped_B)]
      found += [flat[i:i + samples] for i in range(0, len(flat), samples)]
    return found


def few_shot_document(shots: Sequence[tuple[str, str]], question: str) -> str:
  """Questions with their answers, and a last one without."""
  return "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in shots) + (
      f"Question: {question}\nAnswer:")
