"""What a model recites of what it read once, twice, ... 64 times.

Command:   python -m experiments.probe_base_model \\
               --config=configs/probe_memorize.py
Hardware:  2 CPU cores
Time:      a quarter of a minute
Expect:    given 32 tokens, nothing is recited that was held out or read up to
           4 times, half of what was read 16 times, all that was read 64 times
"""

from llm_jax.config import ProbeBaseModelConfig, TextConfig
from llm_jax.config_probes import RegurgitationConfig


def get_config() -> ProbeBaseModelConfig:
  """The corpus and the split that the model was trained with."""
  return ProbeBaseModelConfig(
      checkpoint="runs/memorize/base", probe="regurgitation", batch_size=64,
      regurgitation=RegurgitationConfig(
          data=TextConfig(path="runs/memorize/corpus.jsonl",
                          validation_fraction=0.15)),
      output="runs/memorize/probes.json")
