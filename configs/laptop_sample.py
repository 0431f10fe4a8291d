"""Stage 2 of the laptop's assistant: Wikipedia's text for the vocabulary.

Command:   python -m experiments.repeat_documents \\
               --config=configs/laptop_sample.py
Hardware:  2 CPU cores
Time:      a second
Expect:    5,500 documents of 2.2 M characters

Beside the texts on people, so that stage 3 reads both: a vocabulary learnt from
those alone would know few other words.
"""

from llm_jax.config import RepeatDocumentsConfig


def get_config() -> RepeatDocumentsConfig:
  """The beginnings of the longer introductions, once each."""
  return RepeatDocumentsConfig(
      repeats=(1,), documents=5500, max_chars=400,
      output="runs/laptop/wikipedia/documents.jsonl")
