"""A model from one program's format to another's.

    python -m experiments.convert --source=runs/quickstart/rl \\
        --output=exported --format=hf
    python -m experiments.convert --source=runs/quickstart/rl \\
        --output=quickstart.gguf --format=gguf --dtype=q8_0
    python -m experiments.convert --source=organisation/name \\
        --output=runs/base --format=orbax
    python -m experiments.convert --source=runs/adapter \\
        --output=adapter --format=peft --base_model=exported

hf is what transformers, vLLM and the Hugging Face hub read; gguf what llama.cpp
and LM Studio do; orbax what `--checkpoint` and `--init_from` of the other
experiments do. A LoRA run is written with its adapter merged in, or, as peft,
the adapter alone, as PEFT has it; a source may be such a folder. The output is
written beside its name and renamed when it is whole; something that is there
already is left alone.
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
  if config.format == "peft":
    return _convert_adapter(config)
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


def _convert_adapter(config: ConvertConfig) -> dict[str, Any]:
  """Writes what a LoRA run trained, and nothing of the model."""
  from llm_jax.convert import peft, pretrained
  from llm_jax.model.lora import count_lora
  from llm_jax.training.saved_models import load_adapter
  start = time.monotonic()
  adapter, about, model = load_adapter(config.source)
  output = pretrained.check_output(config.output)
  with pretrained.whole(output) as folder:
    folder.mkdir(parents=True)
    peft.save_peft(folder, adapter, about.lora, model,
                   base_model=config.base_model, model_type=config.model_type)
  count = count_lora(model, about.lora)
  print(f"convert: {config.source} -> {output}, an adapter of {count:,} "
        f"parameters to {about.base}.", flush=True)
  return {"output": str(output), "parameters": count,
          "seconds": round(time.monotonic() - start, 2)}


if __name__ == "__main__":
  # There is nothing to compute: the host has the memory.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  config_flags.launch(ConvertConfig, run)
