"""A model from one program's format to another's.

    python -m experiments.convert --source=runs/quickstart/rl \\
        --output=exported --format=hf
    python -m experiments.convert --source=runs/quickstart/rl \\
        --output=quickstart.gguf --format=gguf --dtype=q8_0
    python -m experiments.convert --source=organisation/name \\
        --output=runs/base --format=orbax

hf is what transformers, vLLM and the Hugging Face hub read; gguf what llama.cpp
and LM Studio do; orbax what `--checkpoint` and `--init_from` of the other
experiments do. The output is written beside its name and renamed when it is
whole; something that is there already is left alone.
"""

from __future__ import annotations

import os
import time
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ConvertConfig


def run(config: ConvertConfig) -> dict[str, Any]:
  """Converts one model.

  Returns:
    `output` (what was written), `parameters` (how many) and `seconds`.

  Raises:
    ConfigError: the source cannot be read, or the output not be written.
  """
  config.validate()
  from absl import logging

  from llm_jax.convert import pretrained
  from llm_jax.convert.hf_config import write_config
  from llm_jax.model.params import count_params
  # Orbax warns that what is read is read only; so it is meant.
  logging.set_verbosity(logging.ERROR)
  start = time.monotonic()
  pretrained.check_output(config.output)
  source = pretrained.find(config.source, flag="--source")
  params, model, tokenizer = pretrained.load_pretrained(config.source)
  if config.format == "hf":
    family, _ = write_config(model, config.model_type)
    print(f"convert: written as {family.architectures[0]}.", flush=True)
  output = pretrained.save_pretrained(
      config.output, params, model, tokenizer, format=config.format,
      dtype=config.dtype, model_type=config.model_type, stage=source.stage,
      max_shard_size=int(config.max_shard_gb * 1e9))
  seconds = round(time.monotonic() - start, 2)
  print(f"convert: {config.source} -> {output}, {count_params(model):,} "
        f"parameters in {seconds} s.", flush=True)
  return {"output": str(output), "parameters": count_params(model),
          "seconds": seconds}


if __name__ == "__main__":
  # There is nothing to compute: the host has the memory.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  config_flags.launch(ConvertConfig, run)
