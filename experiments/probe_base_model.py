"""What a base model is, in four experiments.

    python -m experiments.probe_base_model --config=configs/probe_memorize.py
    python -m experiments.probe_base_model --config=configs/probe_smollm2.py
    python -m experiments.probe_base_model --model=smollm2-135m \\
        --probe=few_shot --few_shot.tasks=antonyms,french

regurgitation: text that it was trained on, continued verbatim, and text that it
was not. few_shot: tasks that are shown by example. prompted_assistant: answers
to questions, by a prompt alone. hallucination: people who never lived. Any
model can be probed; it is given texts to continue, and no chat template.
docs/base_models.md shows what came out. Prints tables, then JSON.
"""

from __future__ import annotations

import json
import time
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ProbeBaseModelConfig, require


def run(config: ProbeBaseModelConfig) -> dict[str, Any]:
  """Probes a model.

  Returns:
    `model`, and for each probe its "rows" (a table), "examples" and "seconds".

  Raises:
    ConfigError: no model, text that cannot be read, a context that is too
      short.
  """
  config.validate()
  path = config.checkpoint or config.model
  require(bool(path), "no model is named; give --checkpoint=RUN, the directory "
          "of a training run, or --model=smollm2-135m.")
  import jax
  from absl import logging

  from llm_jax.convert.pretrained import load_pretrained
  from llm_jax.evals import probes
  from llm_jax.evals.few_shot import probe_few_shot
  from llm_jax.evals.hallucination import probe_hallucination
  from llm_jax.evals.prompted_assistant import probe_prompted_assistant
  from llm_jax.evals.regurgitation import probe_regurgitation
  from llm_jax.model.transformer import unstack_layers
  from llm_jax.paths import as_path
  from llm_jax.workdir import enable_compilation_cache
  # Orbax warns that what is read is read only; so it is meant.
  logging.set_verbosity(logging.ERROR)
  functions = {"regurgitation": probe_regurgitation, "few_shot": probe_few_shot,
               "prompted_assistant": probe_prompted_assistant,
               "hallucination": probe_hallucination}
  if config.output or config.checkpoint:
    enable_compilation_cache(config.checkpoint or as_path(config.output).parent)
  params, model_config, tokenizer = load_pretrained(path)
  require(tokenizer is not None, f"{path} came without a tokenizer; put its "
          "tokenizer.json beside the weights.")
  model = probes.BaseModel(jax.jit(unstack_layers)(params), model_config,
                           tokenizer, config.batch_size, config.seed)
  results: dict[str, Any] = {"model": path}
  for name, function in functions.items():
    if config.probe not in ("all", name):
      continue
    start = time.monotonic()
    found = function(model, getattr(config, name))
    found["seconds"] = round(time.monotonic() - start, 1)
    results[name] = found
    print(f"{name} ({found['seconds']} s; in brackets 95% intervals)\n"
          + probes.table(found["rows"]) + "\n", flush=True)
  text = json.dumps(results, indent=2, ensure_ascii=False)
  print(text, flush=True)
  if config.output:
    output = as_path(config.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text + "\n", encoding="utf-8")
  return results


if __name__ == "__main__":
  config_flags.launch(ProbeBaseModelConfig, run)
