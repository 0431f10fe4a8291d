"""Scaling laws: models of several sizes, each trained on several budgets.

    python -m experiments.scaling_laws --config=configs/scaling_laws_cpu.py
    python -m experiments.scaling_laws --config=configs/scaling_laws_cpu.py \\
        --recipe.data.path=runs/mine/shards --workdir=runs/mine/laws

Every run is one of `experiments.pretrain`, whole, with a learning rate
schedule that ends where it ends, below `<workdir>/runs`. Started again it goes
on where it stopped. From the held-out bits per byte at the ends of the runs
come, in `<workdir>/scaling_laws.json` and `.svg`: isoFLOP curves with their
minima, the power laws of the best size and number of tokens, and L(N, D), all
with intervals from resampled runs (`llm_jax/evals/scaling_fit.py`).
N is the number of parameters without embeddings.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from typing import Any

from llm_jax import config_flags
from llm_jax.config import PretrainConfig, ScalingLawsConfig


@dataclasses.dataclass(frozen=True)
class Cell:
  """One training run of the sweep.

  Attributes:
    config: the run's own.
    budget: operations that it was meant to take; 0 where tokens were given.
    parameters: N, all but embeddings and head.
    all_parameters: with them.
    tokens: D, what it trains on.
    epochs: passes over the part of the data that it reads most often.
    flops: operations that it takes, 6 a matmul parameter (the head is one) and
      attention's (`llm_jax/flops.py`).
  """
  config: PretrainConfig
  budget: float
  parameters: int
  all_parameters: int
  tokens: int
  epochs: float
  flops: float

  def record(self) -> dict[str, Any]:
    """What is told of the cell, ready for JSON."""
    model = self.config.model
    return {
        "budget": self.budget, "depth": model.num_layers,
        "width": model.embed_dim, "parameters": self.parameters,
        "all_parameters": self.all_parameters, "tokens": self.tokens,
        "steps": self.config.num_steps, "epochs": self.epochs,
        "flops": self.flops, "batch_size": self.config.batch_size,
        "learning_rate": self.config.optimizer.learning_rate,
        "seed": self.config.seed}


def plan_cells(config: ScalingLawsConfig, sources: Sequence[Any]
               ) -> tuple[list[Cell], list[dict[str, Any]]]:
  """The runs of a sweep, cheapest first, and those left out with the reason.

  Args:
    config: the sweep's settings.
    sources: what is trained on (`data/mixture.py`).

  Raises:
    ConfigError: a size is no model.
  """
  cells, left_out = [], []
  amounts = config.budgets or config.tokens
  for place, amount in enumerate(amounts):
    rows = (config.batch_sizes[place] if config.batch_sizes
            else config.recipe.batch_size)
    for size in range(len(config.depths)):
      for seed in config.seeds:
        cell = _cell(config, sources, size, amount, rows, seed)
        reason = ""
        if config.max_epochs and cell.epochs > config.max_epochs:
          reason = (f"{cell.epochs:.1f} passes over its data, more than "
                    f"max_epochs={config.max_epochs:g}")
        elif cell.config.num_steps < config.min_steps:
          reason = (f"{cell.config.num_steps} steps, fewer than min_steps="
                    f"{config.min_steps}")
        if reason:
          left_out.append(cell.record() | {"reason": reason})
        else:
          cells.append(cell)
  return sorted(cells, key=lambda cell: cell.flops), left_out


def _cell(config: ScalingLawsConfig, sources: Sequence[Any], size: int,
          amount: float, rows: int, seed: int) -> Cell:
  from llm_jax.data.mixture import passes
  from llm_jax.flops import flops_per_token
  from llm_jax.model.params import count_params
  recipe, model = config.recipe, config.model(size)
  model = dataclasses.replace(model, vocab_size=sources[0].shards.vocab_size)
  model.validate()
  each = flops_per_token(model, recipe.seq_len)
  steps = max(1, round((amount / each if config.budgets else amount)
                       / (rows * recipe.seq_len)))
  tables = model.vocab_size * model.embed_dim * (
      1 if model.tie_embeddings else 2)
  if model.position == "learned":
    tables += model.max_seq_len * model.embed_dim
  name = (f"{'c' if config.budgets else 't'}{amount:.3g}_l{model.num_layers}"
          f"_d{model.embed_dim}_s{seed}")
  return Cell(
      dataclasses.replace(
          recipe, model=model, num_steps=steps, batch_size=rows, seed=seed,
          optimizer=config.optimizer(model.embed_dim),
          workdir=f"{config.workdir}/runs/{name}"),
      budget=float(amount) if config.budgets else 0.0,
      parameters=count_params(model) - tables,
      all_parameters=count_params(model),
      tokens=steps * rows * recipe.seq_len,
      epochs=max(passes(source, recipe.seq_len, steps * rows)
                 for source in sources),
      flops=each * steps * rows * recipe.seq_len)


def train_cells(cells: Sequence[Cell]) -> list[dict[str, Any]]:
  """Trains what is not yet trained, one after the other; their records.

  Raises:
    ConfigError: nothing is held out to measure the runs on, or a workdir holds
      a run with other settings.
  """
  import jax
  from experiments import pretrain
  from llm_jax.config import require
  from llm_jax.metric_writers import format_count, format_seconds
  from llm_jax.training.results import finished_results
  # Asked for first, so that the time left is that of what is left.
  finished = [finished_results(cell.config) for cell in cells]
  left = sum(cell.flops for cell, results in zip(cells, finished)
             if results is None)
  records, done, began = [], 0.0, time.monotonic()
  for place, (cell, results) in enumerate(zip(cells, finished), 1):
    if results is None:
      results = pretrain.run(cell.config)
      jax.clear_caches()  # no other run has these shapes
      done += cell.flops
    bits = results["val_bits_per_byte_end"]
    require(bits is not None, "the data holds nothing out, so the runs cannot "
            "be compared; raise --data.validation_fraction of "
            "experiments.tokenize_corpus and make the shards again.")
    records.append(cell.record() | {"bits_per_byte": bits,
                                    "seconds": results["seconds"]})
    model, taken = cell.config.model, time.monotonic() - began
    eta = format_seconds(taken * (left - done) / done) if done else "?"
    print(f"scaling_laws: run {place} of {len(cells)}: {cell.flops:.2e} FLOPs, "
          f"L{model.num_layers} D{model.embed_dim}, "
          f"{format_count(cell.parameters)} parameters, "
          f"{format_count(cell.tokens)} tokens: {bits:.4f} bits per byte in "
          f"{format_seconds(results['seconds'])}; "
          + (f"ETA {eta}" if left > done else "all done"), flush=True)
  return records


def fit(runs: Sequence[dict[str, Any]], bootstraps: int) -> tuple[Any, Any]:
  """(isoFLOP curves, L(N, D)), each None where the runs do not allow it, which
  is said.

  Args:
    runs: records of `train_cells`.
    bootstraps: resamples.
  """
  from llm_jax.config import ConfigError
  from llm_jax.evals.scaling_fit import fit_isoflops, fit_loss

  def column(name):
    return [run[name] for run in runs]

  def tried(what, fit_fn, *columns):
    try:
      return fit_fn(*map(column, columns), bootstraps=bootstraps)
    except ConfigError as error:
      print(f"scaling_laws: no {what}: {error}", flush=True)
      return None
  isoflops = None
  if runs[0]["budget"]:
    isoflops = tried("isoFLOP curves", fit_isoflops, "budget", "parameters",
                     "tokens", "bits_per_byte")
  return isoflops, tried("L(N, D)", fit_loss, "parameters", "tokens",
                         "bits_per_byte")


def told(isoflops: Any, loss: Any) -> list[str]:
  """What was found, in lines for the console."""
  def interval(estimate):
    return (f"{estimate.value:.3g} (95%: {estimate.low:.3g} to "
            f"{estimate.high:.3g})")
  lines = []
  for curve in isoflops.curves if isoflops else ():
    lines.append(f"C={curve.budget:.3g}: " + (
        f"best N {interval(curve.parameters)}, D {interval(curve.tokens)}, "
        f"{curve.loss.value:.4f} bits per byte" if curve.inside else
        "no minimum between the smallest and the largest size; train "
        "others"))
  if isoflops and isoflops.parameters:
    lines.append(f"best N grows as C^{interval(isoflops.parameters.exponent)}, "
                 f"best D as C^{interval(isoflops.tokens.exponent)}")
  if loss:
    lines.append(f"L(N, D) = E + A/N^alpha + B/D^beta: E "
                 f"{interval(loss.e)}, alpha {interval(loss.alpha)}, beta "
                 f"{interval(loss.beta)}; off by {loss.error:.2%}")
  return lines


def summary(isoflops: Any, loss: Any) -> dict[str, Any]:
  """The fits as JSON, without the resamples."""
  def plain(value):
    if dataclasses.is_dataclass(value):
      return {field.name: plain(getattr(value, field.name))
              for field in dataclasses.fields(value) if field.name != "draws"}
    if isinstance(value, tuple):
      return [plain(v) for v in value]
    # JSON has no word for what is not a number.
    return None if isinstance(value, float) and math.isnan(value) else value
  return {"isoflops": plain(isoflops), "loss": plain(loss)}


def run(config: ScalingLawsConfig) -> dict[str, Any]:
  """Trains what is missing; returns what `scaling_laws.json` holds.

  Raises:
    ConfigError: a setting that cannot work, or no run is left.
  """
  from experiments import pretrain
  from llm_jax.config import require
  from llm_jax.paths import as_path
  from llm_jax.serving.scaling_figure import draw_scaling_laws
  from llm_jax.serving.svg_figures import require_matplotlib
  from llm_jax.workdir import enable_compilation_cache
  config.validate()
  require_matplotlib()
  directory = as_path(config.workdir)
  enable_compilation_cache(directory / "runs" / "run")
  recipe = dataclasses.replace(config.recipe, workdir=config.workdir)
  sources = pretrain.open_sources(recipe)
  if not recipe.data.mixture:  # raw text is shards now, for all runs
    config = dataclasses.replace(config, recipe=dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data,
                                         path=sources[0].shards.path)))
  cells, left_out = plan_cells(config, sources)
  for record in left_out:
    print(f"scaling_laws: left out: L{record['depth']} D{record['width']} "
          f"at {record['budget'] or record['tokens']:.3g}: {record['reason']}",
          flush=True)
  require(bool(cells), "no run is left; raise budgets, or max_epochs, or lower "
          "min_steps.")
  print(f"scaling_laws: {len(cells)} runs, "
        f"{sum(cell.flops for cell in cells):.2e} FLOPs", flush=True)
  runs = train_cells(cells)
  isoflops, loss = fit(runs, config.bootstraps)
  for line in told(isoflops, loss):
    print(f"scaling_laws: {line}", flush=True)
  report = {"runs": runs, "left_out": left_out} | summary(isoflops, loss)
  outputs = [directory / "scaling_laws"]
  if config.output:
    outputs.append(as_path(config.output))
  for output in outputs:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    draw_scaling_laws(output.with_suffix(".svg"), runs, isoflops, loss)
  return report


if __name__ == "__main__":
  config_flags.launch(ScalingLawsConfig, run)
