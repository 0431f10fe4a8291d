"""The stages over the crawl with known truth.

Command:   python -m experiments.curate --config=configs/curate_sample.py
Hardware:  2 CPU cores
Time:      some minutes
Expect:    python -m experiments.score_crawl prints what each stage found

All thresholds are those of the recipes. The three languages of the articles
are kept; what is removed is listed by its id, to be compared with the truth.
"""

from llm_jax.config import CurateConfig
from llm_jax.config_crawl import (
    DecontaminateConfig, InputConfig, StagesConfig)


def get_config() -> CurateConfig:
  """English, French and Spanish; removed pages by id."""
  return CurateConfig(
      input=InputConfig(paths=("runs/sample/crawl/*.warc.gz",)),
      curate=StagesConfig(
          languages=("en", "fr", "es"),
          decontaminate=DecontaminateConfig(
              against=("runs/sample/crawl/validation.jsonl",))),
      workdir="runs/sample/curate", removed="ids")
