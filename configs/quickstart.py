"""All stages of the quickstart.

Command:   make quickstart
           (python -m experiments.quickstart --config=configs/quickstart.py)
Hardware:  2 CPU cores
Time:      five to twelve minutes
Expect:    what the stages' own configs say; see the table of README.md
"""

from configs import (
    quickstart_corpus, quickstart_crawl, quickstart_curate,
    quickstart_pretrain, quickstart_rl, quickstart_sft, quickstart_tokenizer)
from llm_jax.config import QuickstartConfig


def get_config() -> QuickstartConfig:
  """Each stage as its own config has it; all in runs/quickstart."""
  return QuickstartConfig(
      workdir="runs/quickstart",
      crawl=quickstart_crawl.get_config(),
      curate=quickstart_curate.get_config(),
      tokenizer=quickstart_tokenizer.get_config(),
      corpus=quickstart_corpus.get_config(),
      pretrain=quickstart_pretrain.get_config(),
      sft=quickstart_sft.get_config(),
      rl=quickstart_rl.get_config())
