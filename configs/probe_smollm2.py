"""All probes of SmolLM2-135M, which has read two trillion tokens.

Command:   python -m experiments.probe_base_model \\
               --config=configs/probe_smollm2.py
Hardware:  2 CPU cores
Time:      three to four minutes
Expect:    no text recited; few-shot accuracy from 5% (no example) to 68% (8);
           17 of 24 questions answered; years of birth for invented people

The named model was finetuned to follow instructions; here it is given plain
documents, and continues them as a base model does.
"""

from llm_jax.config import ProbeBaseModelConfig
from llm_jax.config_probes import RegurgitationConfig


def get_config() -> ProbeBaseModelConfig:
  """Wikipedia introductions, which it has probably read, against inventions."""
  return ProbeBaseModelConfig(
      model="smollm2-135m",
      regurgitation=RegurgitationConfig(prompt_tokens=(16, 32), new_tokens=24,
                                        documents=48),
      output="runs/probes/smollm2-135m.json")
