"""The model that training starts from, whatever form it comes in.

Stages start from runs of ours. `base_run` makes one of any other model that
`pretrained.find` knows, once, inside the directory of the run that starts from
it, so that the latter can go on when the source is no more there; `model_named`
tells what a model is without reading its weights, for what is only compiled.
"""

from __future__ import annotations

import dataclasses
import re

import jax

from llm_jax.config import (
    ConfigError, ModelConfig, RlConfig, SftConfig, require)
from llm_jax.convert import pretrained
from llm_jax.convert.hf_config import read_config
from llm_jax.convert.huggingface import CONFIG, read_json
from llm_jax.model.presets import PRESETS
from llm_jax.paths import as_path
from llm_jax.run_record import check_same_run
from llm_jax.training.startup import model_of


def base_run(config: SftConfig | RlConfig, stage: str) -> str:
  """The run to start from: `init_from`, or what is made of another model.

  Parameters that are all trained are kept in float32 even where they came in
  bfloat16: a step of 1e-6 would be lost in a weight of eight bits. Those that
  an adapter leaves as they are stay in what they came in.

  Args:
    config: init_from, workdir, lora.
    stage: which stage says what it does, on the console.

  Raises:
    ConfigError: `init_from` leads nowhere, or is to be converted by several
      processes.
  """
  require(bool(config.init_from), "init_from is empty; name the run directory "
          "of a model of yours, or another model, such as smollm2-135m.")
  if pretrained.find(config.init_from, flag="--init_from").kind == "run":
    return config.init_from
  name = re.sub(r"[^\w.-]+", "-", config.init_from).strip("-")
  base = as_path(config.workdir) / "base" / name
  if not base.is_dir():
    check_same_run(as_path(config.workdir), config)
    require(jax.process_count() == 1, f"init_from={config.init_from} is no run "
            "of ours, and several processes do not convert it; do so first "
            "with experiments.convert --format=orbax.")
    params, model, tokenizer = pretrained.load_pretrained(config.init_from)
    if model.param_dtype == "bfloat16" and not config.lora.rank:
      params, _ = pretrained.cast(params, model, "float32")
      model = dataclasses.replace(model, param_dtype="float32")
    pretrained.save_pretrained(base, params, model, tokenizer, format="orbax")
    print(f"{stage}: converted {config.init_from} into {base}", flush=True)
  return str(base)


def model_named(path_or_name: str, compute_dtype: str = "", remat: str = ""
                ) -> ModelConfig:
  """The configuration of a model, without its weights.

  Args:
    path_or_name: a run's directory or checkpoint; a Hugging Face folder; or
      the name of a preset, which may stand at the end of a path or of a name
      on the hub, in letters of any size: Qwen/Qwen3-1.7B.
    compute_dtype: of activations; empty: as the model has it.
    remat: likewise.

  Raises:
    ConfigError: it is none of these.
  """
  path = as_path(path_or_name)
  preset = path.name.lower()
  if (path / CONFIG).exists():
    model = read_config(read_json(path / CONFIG), str(path / CONFIG))
  elif path.is_dir():
    model = model_of(path_or_name)
  elif preset in PRESETS:
    model = PRESETS[preset]
  else:
    raise ConfigError(
        f"nothing says what model {path_or_name} is: it is neither a run nor a "
        f"Hugging Face folder, and {preset!r} is no preset of "
        f"llm_jax/model/presets.py ({', '.join(sorted(PRESETS))}).")
  return dataclasses.replace(
      model, compute_dtype=compute_dtype or model.compute_dtype,
      remat=remat or model.remat)
