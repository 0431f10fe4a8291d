"""The stages over the crawl with known truth.

Command:   python -m experiments.curate --config=configs/curate_sample.py
Hardware:  2 CPU cores
Time:      about two minutes
Expect:    `python -m experiments.score_crawl` prints what each stage found

The three languages of the articles are kept; what is removed is listed by its
id, to be compared with the truth. Thresholds are those of the recipes but for
one. Gopher's rule that 80% of the words have a letter is counted, by datatrove,
over punctuation marks too, and introductions of an encyclopedia are full of
years, brackets and commas: spaCy's words would lose 5% of the English and 9% of
the French ones, which are prose. At 70% they stay.
"""

from llm_jax.config import CurateConfig
from llm_jax.config_crawl import (
    DecontaminateConfig, GopherQualityConfig, StagesConfig)
from llm_jax.config_curate import InputConfig


def get_config() -> CurateConfig:
  """English, French and Spanish; removed pages by id."""
  return CurateConfig(
      input=InputConfig(paths=("runs/sample/crawl/*.warc.gz",)),
      curate=StagesConfig(
          languages=("en", "fr", "es"),
          gopher_quality=GopherQualityConfig(min_alpha_words=0.7),
          decontaminate=DecontaminateConfig(
              against=("runs/sample/crawl/validation.jsonl",))),
      workdir="runs/sample/curate", removed="ids")
