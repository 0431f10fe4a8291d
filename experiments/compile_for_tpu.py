"""Compiles a recipe's steps for a TPU slice that need not be here.

    python -m experiments.compile_for_tpu --config=configs/llama3_8b.py \\
        --topology=v5p:4x4x4
    python -m experiments.compile_for_tpu --config=configs/llama3_405b.py \\
        --topology=v5p:8x16x16 --mesh=fsdp=512,tensor=4 --steps=train \\
        --output=runs/llama3_405b

    python -m experiments.compile_for_tpu --topology=v5e:4x4 \\
        --config=configs/rl_gsm8k_qwen3_1p7b.py

What is compiled is what `experiments.pretrain` runs, or `experiments.rl` where
the recipe is one of its (the optimiser's step and what samples the rollouts).
So the answer is the compiler's own: memory of a device by part, or the refusal
and what would help; collectives by kind, count and bytes; the roofline's bound
and the MFU that it allows. Needs libtpu (pip install -e '.[tpu]') and no TPU;
--topology=cpu:8 needs neither.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from llm_jax import config_flags
from llm_jax.config import CompileForTpuConfig, CompileRlForTpuConfig


def run(config: CompileForTpuConfig | CompileRlForTpuConfig
        ) -> dict[str, Any]:
  """Compiles `config.steps`; returns what report.json holds."""
  # Whatever accelerator there is stays free: nothing is run.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  from llm_jax.config import require
  from llm_jax.config_tree import to_dict
  from llm_jax.convert.base_runs import model_named
  from llm_jax.paths import as_path
  from llm_jax.rl import compiled_steps
  from llm_jax.scaling.compiled import compile_program, compile_step
  from llm_jax.scaling.report import account, markdown, step_report
  from llm_jax.scaling.topology import compile_devices
  from llm_jax.sharding import make_mesh
  from llm_jax.training.startup import check_run, describe

  learns = isinstance(config, CompileRlForTpuConfig)
  model = (model_named(config.init_from, config.compute_dtype, config.remat)
           if learns else config.model)
  require(model.vocab_size > 0, "model.vocab_size is 0; there is no "
          "tokenizer here to ask, so set it.")
  mesh = make_mesh(config.mesh,
                   compile_devices(config.topology, config.slices))
  if "train" in config.steps:
    # Nothing is read of a model that may not be here.
    check_run(dataclasses.replace(config, init_from=""), model, mesh,
              config.batch_size * (config.group_size if learns else 1))
  sizes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items()
                    if size > 1)
  title = f"{config.topology}" + (f" x {config.slices}"
                                  if config.slices > 1 else "")
  title += f", {sizes or 'one device'}"
  print(describe(model, config.seq_len).splitlines()[-1].strip(), flush=True)
  output = as_path(config.output) if config.output else None
  if output is not None:
    output.mkdir(parents=True, exist_ok=True)
  reports = []
  for name in config.steps:
    print(f"compile_for_tpu: {name} for {title} ...", flush=True)
    if learns:
      about = (name, config, model, mesh)
      step = compile_program(name, compiled_steps.program_of(*about), config,
                             model, mesh)
      told = (*compiled_steps.account(*about), compiled_steps.beside(*about))
    else:
      step = compile_step(name, config, mesh)
      told = account(name, config, mesh)
    text = step.compiled.as_text()
    reports.append(step_report(step, config.topology, mesh, text, *told))
    print(markdown(reports[-1:], title).partition("\n")[2].strip(), flush=True)
    if output is not None and config.save_hlo:
      (output / f"{name}.hlo.txt").write_text(text)
  results = {"topology": config.topology, "slices": config.slices,
             "mesh": dict(mesh.shape), "steps": reports,
             "config": to_dict(config)}
  if output is not None:
    (output / "report.json").write_text(json.dumps(results, indent=2) + "\n")
    (output / "report.md").write_text(markdown(reports, title))
  return results


if __name__ == "__main__":
  config_flags.launch((CompileForTpuConfig, CompileRlForTpuConfig), run)
