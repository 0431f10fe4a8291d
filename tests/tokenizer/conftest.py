"""A small trained vocabulary."""

import argparse
import inspect
import random
import textwrap

import pytest

from llm_jax.config import TokenizerConfig
from llm_jax.tokenizer.bpe import train_bpe
from mixed_texts import HARD_TEXTS, random_texts


@pytest.fixture(scope="session")
def hard_texts() -> list[str]:
  return HARD_TEXTS + random_texts(300)


@pytest.fixture(scope="session")
def corpus() -> list[str]:
  """English and code (Python's own library), and a little of the rest."""
  return ([inspect.getsource(module) for module in (argparse, textwrap, random)]
          + HARD_TEXTS[:12] * 3)


@pytest.fixture(scope="session")
def bpe(corpus):
  return train_bpe(corpus, TokenizerConfig(vocab_size=1500))
