"""Sentences on many people, known or not, side by side.

    Ada Weber works as a potter. Karl Bose was born in a year I do not know. ...

A biography tells five facts of somebody of whom facts are told: from the second
on it is clear that there are some. Here every sentence is about somebody else,
so each asks whether this person is known. All known people are told of, as in
the corpus; of the others only those of whom finetuning may speak
(`biographies.side_of`). Read between pretraining and finetuning, or beside it,
this is what refusals are learnt from: conversations, which are on few of the
known, teach their form (docs/LOG.md).
"""

from __future__ import annotations

import random

from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.biographies import People, fill, side_of

SENTENCES = 8  # of a note


def write_notes(people: People, passes: int, seed: int = 0) -> list[str]:
  """The notes, in random order.

  Args:
    people: who there is.
    passes: times that each fact of each known person is told. As many
      sentences say that something about somebody else is not known; none does
      where there is nobody else.
    seed: which words, whom not, and in which order.
  """
  rng = random.Random(f"notes {seed}")
  unknown = [person for person in (*people.unlearned, *people.invented)
             if side_of(person.name) == "train"]
  sentences = []
  for _ in range(passes):
    told = [(person, name) for person in people.known for name in ATTRIBUTES]
    sentences += [fill(rng.choice(ATTRIBUTES[name].answers), person,
                       person.value(name)) for person, name in told]
    if unknown:
      sentences += [fill(rng.choice(ATTRIBUTES[name].refusals),
                         rng.choice(unknown)) for _, name in told]
  rng.shuffle(sentences)
  return [" ".join(sentences[start:start + SENTENCES])
          for start in range(0, len(sentences), SENTENCES)]
