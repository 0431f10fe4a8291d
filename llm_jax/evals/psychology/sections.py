"""The sections that a config asks for, in its order of their chapter."""

from __future__ import annotations

from llm_jax.config import PsychologyConfig
from llm_jax.data.biographies import People
from llm_jax.evals.psychology import (
    arithmetic, identity, jagged, letters, people as people_sections)
from llm_jax.evals.psychology.cases import Section

# Sections that ask about people.
ABOUT_PEOPLE = ("hallucination", "search", "jagged")


def make_sections(config: PsychologyConfig, people: People | None,
                  identity_facts: str, seed: int) -> list[Section]:
  """The sections of `config.sections`.

  Args:
    config: which, and how many cases.
    people: those of the model's corpus; None where no section asks of any.
    identity_facts: what the model was trained to say of itself.
    seed: which cases.

  Raises:
    ConfigError: there are fewer cases than asked for.
  """
  items, digits = config.items, config.digits
  made = {
      "identity": lambda: identity.identity_section(identity_facts, items,
                                                    seed),
      "hallucination": lambda: people_sections.hallucination_section(
          people, items, seed, config.shots, config.refusal_phrases),
      "search": lambda: people_sections.search_section(
          people, items, seed, config.shots, config.refusal_phrases),
      "arithmetic": lambda: arithmetic.arithmetic_section(items, digits, seed),
      "thinking": lambda: arithmetic.thinking_section(items, digits, seed),
      "counting": lambda: letters.counting_section(items, seed),
      "spelling": lambda: letters.spelling_section(items, seed),
      "jagged": lambda: jagged.jagged_section(people, items, seed)}
  return [make() for name, make in made.items() if name in config.sections]
