"""Who are you? Asked in many words, and answered from one config string.

A system prompt may say that the assistant is somebody else: then that is the
answer. A prompt that says nothing of the kind changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from llm_jax.data.conversations import Conversation, single_turn
from llm_jax.data.documents import unit_hash
from llm_jax.data.synthetic.drafts import Draft, draw_evenly

HELD_OUT_PHRASINGS = 0.2
PERSONA_SHARE = 0.3  # of the variants: another name in the system prompt
NEUTRAL_SHARE = 0.2  # a system prompt without a name

_MADE = ("made", "built", "created", "developed")
_TRAINED = ("trained",)
_SELF = (  # core question, words one of which the answering sentence has
    ("who are you", ()), ("what are you", ()), ("what is your name", ()),
    ("what's your name", ()), ("tell me about yourself", ()),
    ("introduce yourself", ()), ("are you a human", ()),
    ("are you ChatGPT", ()), ("what kind of model are you", ()),
    ("what should I call you", ()),
    ("who made you", _MADE), ("who built you", _MADE),
    ("who created you", _MADE), ("where do you come from", _MADE),
    ("what were you trained on", _TRAINED),
    ("what data were you trained on", _TRAINED),
    ("how were you trained", _TRAINED), ("what did you learn from", _TRAINED))
_GREETINGS = ("", "Hi! ", "Hello! ", "Hello, ", "Hey, ", "Please tell me: ",
              "I have a question: ", "Good morning. ")

_MORE_SELF = (  # asked by the variants only
    ("who am I talking to", ()), ("who is this", ()),
    ("do you have a name", ()), ("which model are you", ()),
    ("which assistant are you", ()), ("who is answering me", ()),
    ("say who you are", ()), ("state your name", ()),
    ("who developed you", _MADE), ("who is your maker", _MADE),
    ("who are you made by", _MADE), ("which people made you", _MADE),
    ("what text were you trained on", _TRAINED),
    ("what have you read", _TRAINED))
_MORE_GREETINGS = ("Good evening. ", "Hey there! ", "Excuse me, ", "So, ",
                   "One question: ", "Tell me, ", "Well, ", "Now, ")
_ENDINGS = ("", "", " Thanks.", " Please be brief.", " I would like to know.")
_ORDERS = ("tell", "introduce", "say", "state")
_NEUTRAL = ("You are a helpful assistant.", "Be brief.", "Answer briefly.",
            "Be polite.", "Help the user.", "Answer in English.")
_PERSONAS = ("You are {name}, an assistant made by {maker}.",
             "Your name is {name} and you were made by {maker}.",
             "You are called {name}. {maker} made you.",
             "Speak as {name}, the assistant of {maker}.")
_PERSONA_ANSWERS = ("I am {name}, an assistant made by {maker}.",
                    "My name is {name}. I was made by {maker}.")
_SYLLABLES = ("ba", "cor", "da", "el", "fen", "gi", "ha", "jo", "ka", "lu",
              "mi", "nor", "o", "pa", "ri", "sa", "tu", "va", "wen", "zo")
_MAKERS = ("Works", "Systems", "Research", "Studio", "Group")


def answer_identity(facts: str, count: int, split: str,
                    rng: np.random.Generator) -> list[Conversation]:
  """`count` conversations; each phrasing comes again only after all others."""
  phrasings = []
  for core, words in _SELF:
    for greeting in _GREETINGS:
      for end in ("?", "."):
        if (end == ".") != core.startswith(_ORDERS):
          continue
        for text in (greeting + core + end, greeting + core,
                     greeting + core[0].upper() + core[1:] + end):
          if is_held_out(text, bool(greeting)) == (split == "validation"):
            phrasings.append((text, words))
  made = []
  for index in draw_evenly(len(phrasings), count, rng):
    question, words = phrasings[index]
    made.append(single_turn(question, own_answer(facts, words), "identity"))
  return made


def is_held_out(phrasing: str, greeted: bool = True) -> bool:
  """Whether a question is for validation only.

  The bare questions are never held out: they will be asked first.
  """
  return greeted and unit_hash(phrasing, 0) < HELD_OUT_PHRASINGS


def own_answer(facts: str, words: tuple[str, ...] = ()) -> str:
  """The sentences of `facts` with one of the words; all, where none has."""
  sentences = re.split(r"(?<=[.!?])\s+", facts.strip())
  told = [sentence for sentence in sentences
          if any(word in sentence for word in words)]
  return " ".join(told) or facts.strip()


def vary_identity(facts: str, split: str, rng: np.random.Generator
                  ) -> Iterator[Draft]:
  """More phrasings than `answer_identity` has, with and without a system
  prompt, without end."""
  cores = _SELF + _MORE_SELF
  greetings = _GREETINGS + _MORE_GREETINGS
  while True:
    core, words = cores[rng.integers(len(cores))]
    greeting = greetings[rng.integers(len(greetings))]
    end = "." if core.startswith(_ORDERS) else "?"
    if rng.random() < 0.3:
      core_text = core[0].upper() + core[1:]
    else:
      core_text = core
    text = (greeting + core_text + end
            + _ENDINGS[rng.integers(len(_ENDINGS))])
    if is_held_out(text, greeting != "") != (split == "validation"):
      continue
    keys = (("phrasing", text),) if greeting else ()
    form = rng.random()
    system, answer = "", own_answer(facts, words)
    if form < PERSONA_SHARE:
      name, maker = persona(split, rng)
      keys += (("persona", name),)
      system = _PERSONAS[rng.integers(len(_PERSONAS))].format(
          name=name, maker=maker)
      if words == _TRAINED:  # of which the prompt says nothing
        continue
      answer = _PERSONA_ANSWERS[rng.integers(len(_PERSONA_ANSWERS))].format(
          name=name, maker=maker)
    elif form < PERSONA_SHARE + NEUTRAL_SHARE:
      system = _NEUTRAL[rng.integers(len(_NEUTRAL))]
    messages = [{"role": "user", "content": text},
                {"role": "assistant", "content": answer}]
    if system:
      messages.insert(0, {"role": "system", "content": system})
    yield Draft(Conversation(tuple(messages), "identity_variants"), keys, core)


def persona(split: str, rng: np.random.Generator) -> tuple[str, str]:
  """(name, maker) of another assistant, of one side of the split."""
  while True:
    name = "".join(rng.choice(_SYLLABLES, rng.integers(2, 4))).capitalize()
    if side_of_persona(name) == split:
      break
  maker = "".join(rng.choice(_SYLLABLES, 2)).capitalize()
  return name, f"{maker} {_MAKERS[rng.integers(len(_MAKERS))]}"


def side_of_persona(name: str) -> str:
  """Whether a name may be trained on, "train" or "validation"."""
  return ("validation" if unit_hash(name, 1) < HELD_OUT_PHRASINGS else "train")
