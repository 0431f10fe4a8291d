"""What is known of people is said; of whom nothing is known, that is said.

Llama 3 (2024, arXiv:2407.21783, section 4.3.6) was taught to say what it knows
and to refuse the rest. Here it is known what a model has read: people of whom
the corpus tells are answered for, and names of whom it does not are refused,
most of each; the others show whether that carries over.

A refusal begins as the answer would and says where the value would stand that
it is not known ("... was born in a year I do not know."). There the model finds
the value or finds none; at the first word of an answer it could only learn by
heart whose names are refused (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.biographies import Person, fill
from llm_jax.data.conversations import single_turn
from llm_jax.data.synthetic.drafts import Draft, Material


def ask_person(person: Person, attribute: str, rng: np.random.Generator,
               held_out: bool = False) -> tuple[str, str]:
  """(template, question)."""
  asked = ATTRIBUTES[attribute]
  templates = (asked.held_out_questions if held_out
               else asked.questions + asked.spoken_questions)
  template = templates[rng.integers(len(templates))]
  return template, fill(template, person)


def tell(person: Person, attribute: str, rng: np.random.Generator) -> str:
  """The fact in a sentence."""
  templates = ATTRIBUTES[attribute].answers
  return fill(templates[rng.integers(len(templates))], person,
              person.value(attribute))


def refuse(person: Person, attribute: str, rng: np.random.Generator) -> str:
  """That this is not known, in a sentence that begins as one that tells it."""
  templates = ATTRIBUTES[attribute].refusals
  return fill(templates[rng.integers(len(templates))], person)


def answer_facts(material: Material, split: str, rng: np.random.Generator
                 ) -> Iterator[Draft]:
  """Known people's facts, without end."""
  return _about(material.persons_of("known", split), "facts", rng)


def refuse_unknown(material: Material, split: str, rng: np.random.Generator
                   ) -> Iterator[Draft]:
  """Questions on people of whom no text tells, refused, without end."""
  return _about(material.persons_of("invented", split)
                + material.persons_of("unlearned", split), "refusals", rng)


def _about(persons: Sequence[Person], kind: str, rng: np.random.Generator
           ) -> Iterator[Draft]:
  names = list(ATTRIBUTES)
  while persons:
    for index in rng.permutation(len(persons)):
      person = persons[index]
      attribute = names[rng.integers(len(names))]
      template, question = ask_person(person, attribute, rng)
      answer = (tell(person, attribute, rng) if kind == "facts"
                else refuse(person, attribute, rng))
      yield Draft(single_turn(question, answer, kind),
                  (("person", person.name),), template)
