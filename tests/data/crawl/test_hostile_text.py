"""Text that makes a careless expression take the square of its length.

Nothing is timed: with such an expression these tests would take hours.
"""

import random

import pytest
import regex

from llm_jax.config_crawl import PiiConfig
from llm_jax.data.crawl import pii
from llm_jax.data.crawl.words import UnicodeWords

MANY = 200_000


@pytest.mark.parametrize("text", [
    "!" * MANY + "x", "." * MANY, "a" * MANY, "!)" * MANY + "x",
    "!" + ")" * MANY + "x", "a." * MANY], ids=lambda text: text[:4])
def test_sentences(text):
  (sentence,) = UnicodeWords("en").sent_tokenize(text)
  assert sentence == text


@pytest.mark.parametrize("text", [
    "a-" * MANY + "@", "a." * MANY + " @", "x@" + "a-" * MANY,
    "x@" + "a." * MANY, "@" * MANY, "a@" * MANY,
    "1 " * MANY + "@", "1." * MANY],
    ids=lambda text: text[:4])
def test_personal_data(text):
  config = PiiConfig(phone=False)
  changed, counts = pii.replace_pii(text, config)
  # x@a.a... is an address of sorts.
  assert counts in ({}, {"email": 1}) and len(changed) >= len(text) - 520


def test_sentences_are_those_of_the_plain_expression():
  plain = regex.compile(r"[^\n]+?(?:[.!?…]+[\"'”’»)\]]*(?=\s|$)"
                        r"|[。！？]+[」』”’）]*|(?=\n|$))")
  rng = random.Random(0)
  for _ in range(20_000):
    text = "".join(rng.choices(".!…)\"a b\n。」. ", k=rng.randrange(1, 14)))
    spans = [(m.start() + len(m.group()) - len(m.group().lstrip()),
              m.start() + len(m.group().rstrip()))
             for m in plain.finditer(text) if m.group().strip()]
    assert UnicodeWords("en").span_tokenize(text) == spans, text


def test_addresses_are_those_of_the_plain_expression():
  rng = random.Random(0)
  for _ in range(20_000):
    text = "".join(rng.choices("a.@-b@c. +\n", k=rng.randrange(1, 24)))
    spans = [match.span() for match in pii._EMAIL.finditer(text)]
    assert pii._emails(text) == spans, text
