"""Stage 2 of the quickstart: from web pages to clean text, as FineWeb does it.

Command:   python -m experiments.curate --config=configs/quickstart_curate.py
Hardware:  2 CPU cores
Time:      one to two minutes
Expect:    English articles; runs/quickstart/curate/funnel.html shows what
           became of each page

One threshold is not that of its recipe: Gopher wants a letter in 80% of the
words, and datatrove counts marks as words; introductions of an encyclopedia,
with their years and brackets, do not always have that (configs/curate_sample.py
says how many).

Text that holds a piece of the held-out articles is left out: the step called
decontamination, which any evaluation set wants.
"""

from llm_jax.config import CurateConfig
from llm_jax.config_crawl import (
    DecontaminateConfig, GopherQualityConfig, StagesConfig)
from llm_jax.config_curate import InputConfig


def get_config() -> CurateConfig:
  """All stages; thresholds of their recipes but for one."""
  return CurateConfig(
      input=InputConfig(paths=("runs/quickstart/crawl/*.warc.gz",)),
      curate=StagesConfig(
          gopher_quality=GopherQualityConfig(min_alpha_words=0.7),
          decontaminate=DecontaminateConfig(
              against=("runs/quickstart/crawl/validation.jsonl",))),
      workdir="runs/quickstart/curate")
