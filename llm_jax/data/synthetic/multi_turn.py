"""Conversations of several turns: follow-up questions, and a change of subject.

A follow-up names nobody ("And where does she work?"): who is meant stands in an
earlier turn. Who is not known stays so, whatever is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.biographies import Person, fill
from llm_jax.data.conversations import Conversation
from llm_jax.data.synthetic import arithmetic, facts, identity, spelling
from llm_jax.data.synthetic.drafts import Draft, Material

PEOPLE_SHARE = 0.4  # of the subjects beside one who is there always
UNKNOWN_SHARE = 0.3  # of the people who are asked about
MOST_FOLLOW_UPS = 2


def talk(material: Material, split: str, rng: np.random.Generator
         ) -> Iterator[Draft]:
  """Two or three subjects, people among them, without end."""
  groups = {group: material.persons_of(group, split)
            for group in ("known", "invented")}
  others = [
      spelling.spell_words(material.words[split], rng),
      arithmetic.compute("arithmetic_steps",
                         material.config.arithmetic_digits, split, rng),
      (draft for draft in identity.vary_identity(
          material.config.identity_facts, split, rng)
       if draft.conversation.messages[0]["role"] == "user")]
  if not all(groups.values()):
    return
  while True:
    messages, keys, subjects = [], [], []
    on_people = [True, *(rng.random(rng.integers(1, 3)) < PEOPLE_SHARE)]
    for on_person in rng.permutation(on_people):
      if on_person:
        group = "invented" if rng.random() < UNKNOWN_SHARE else "known"
        person = groups[group][rng.integers(len(groups[group]))]
        messages += ask_on(person, group == "known", rng)
        keys.append(("person", person.name))
        subjects.append(group)
      else:
        draft = next(others[rng.integers(len(others))])
        messages += draft.conversation.messages
        keys += draft.keys
        subjects.append(draft.conversation.kind)
    yield Draft(Conversation(tuple(messages), "multi_turn"), tuple(keys),
                subjects[0])


def ask_on(person: Person, known: bool, rng: np.random.Generator
           ) -> list[dict[str, str]]:
  """A question on a person and follow-ups, with their answers."""
  messages = []
  attributes = rng.permutation(list(ATTRIBUTES)).tolist()
  for number, attribute in enumerate(
      attributes[:1 + rng.integers(1, MOST_FOLLOW_UPS + 1)]):
    if number:
      templates = ATTRIBUTES[attribute].follow_ups
      question = fill(templates[rng.integers(len(templates))], person)
    else:
      _, question = facts.ask_person(person, attribute, rng)
    answer = (facts.tell(person, attribute, rng) if known
              else facts.refuse(person, attribute, rng))
    messages += [{"role": "user", "content": question},
                 {"role": "assistant", "content": answer}]
  return messages
