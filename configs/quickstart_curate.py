"""Stage 2 of the quickstart: from web pages to clean text, as FineWeb does it.

Command:   python -m experiments.curate --config=configs/quickstart_curate.py
Hardware:  2 CPU cores
Time:      one to two minutes
Expect:    English articles; runs/quickstart/curate/funnel.html shows what
           became of each page

Text that holds a piece of the held-out articles is left out: the step called
decontamination, which any evaluation set wants.
"""

from llm_jax.config import CurateConfig
from llm_jax.config_crawl import (
    DecontaminateConfig, InputConfig, StagesConfig)


def get_config() -> CurateConfig:
  """All stages with the thresholds of their recipes."""
  return CurateConfig(
      input=InputConfig(paths=("runs/quickstart/crawl/*.warc.gz",)),
      curate=StagesConfig(decontaminate=DecontaminateConfig(
          against=("runs/quickstart/crawl/validation.jsonl",))),
      workdir="runs/quickstart/curate")
