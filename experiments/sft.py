"""Supervised finetuning: a base model learns to answer, by imitation.

    python -m experiments.sft --config=configs/quickstart_sft.py
    python -m experiments.sft --init_from=runs/pretrain \\
        --data.path=conversations.jsonl --workdir=runs/assistant

It is pretraining with another loss mask: only what the assistant says, and the
token with which it stops, is trained. The user's own data is JSON lines or
parquet in any of the public formats (docs/conversations.md); --data.mixture
takes several sources in shares, token shards among them. Started again it goes
on from the last checkpoint.

    python -m experiments.sft --init_from=runs/pretrain --lora.rank=8 \\
        --optimizer.learning_rate=1e-3 --workdir=runs/adapter

trains an adapter of low rank and leaves the model as it is (LoRA). The run's
directory is named like any other's: chat, evaluation and reinforcement learning
load the model with the adapter merged in. --init_from is a run of ours or
whatever experiments.chat takes as --model, which is then converted once, into
`<workdir>/base`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

from llm_jax import config_flags
from llm_jax.config import SftConfig


def improves(loss: float, best: float, min_delta: float) -> bool:
  """Whether a validation loss falls by the relative `min_delta` or more."""
  return not math.isfinite(best) or loss < best * (1 - min_delta)


def run(config: SftConfig) -> dict[str, Any]:
  """Trains to the plateau or to `num_steps`; returns `results.json`."""
  import jax
  from llm_jax import distributed, workdir
  from llm_jax.config import require
  from llm_jax.convert.base_runs import base_run
  from llm_jax.data import pipeline
  from llm_jax.data.conversation_sources import load_sources
  from llm_jax.evals.bits_per_byte import sum_nll
  from llm_jax.flops import flops_per_token
  from llm_jax.metrics import MetricLogger
  from llm_jax.model.lora import attach
  from llm_jax.sharding import global_batch, make_mesh, process_rows
  from llm_jax.tokenizer.chat import use_template
  from llm_jax.tokenizer.loading import load_tokenizer
  from llm_jax.training import adapters, results, startup
  from llm_jax.training.checkpoints import Checkpointer
  from llm_jax.training.losses import language_model_loss
  from llm_jax.training.memory_errors import (
      check_memory, told_out_of_memory)
  from llm_jax.training.optimizers import make_optimizer, make_schedule
  from llm_jax.training.preemption import Preempted, StopSignals
  from llm_jax.training.saved_models import (
      TOKENIZER, checkpoint_info, keep_tokenizer)
  from llm_jax.training.step_guard import StepGuard
  from llm_jax.training.train_step import train_step

  distributed.start(config.distributed)
  if (finished := results.finished_results(config)) is not None:
    return finished
  placed = dataclasses.replace(config, init_from=base_run(config, "sft"))
  model = startup.model_of(placed.init_from)
  model = dataclasses.replace(
      model, remat=config.remat or model.remat,
      compute_dtype=config.compute_dtype or model.compute_dtype)
  tokenizer = load_tokenizer(
      str(checkpoint_info(placed.init_from)[0] / TOKENIZER))
  if config.data.template:
    use_template(tokenizer, config.data.template)
  mesh = make_mesh(config.mesh)
  startup.check_run(placed, model, mesh)
  adapter = startup.adapter_of(placed, model, mesh)
  tx = make_optimizer(config.optimizer, config.num_steps, model, config.lora)
  if adapter is None:  # else little beside the frozen parameters
    print(f"sft: {check_memory(config, model, mesh, tx)}", flush=True)
  sources = load_sources(config.data, tokenizer, config.seq_len, config.seed)
  kinds = sorted({kind for source in sources for kind in source.validation})
  require(not config.plateau_metric or config.plateau_metric in kinds,
          f"plateau_metric is {config.plateau_metric!r}; the validation "
          f"conversations are of {', '.join(kinds) or 'no kind'}.")
  mine = process_rows(mesh, model.rules, config.batch_size)
  train = pipeline.mixed_dataset(
      [(source.train, source.share) for source in sources], config.batch_size,
      config.seed, mine, numbered=config.logging.examples)
  validation = {kind: pipeline.rows_dataset(rows, config.batch_size, mine)
                for source in sources
                for kind, rows in sorted(source.validation.items())}
  for source in sources:
    passes = source.passes(config.num_steps * config.batch_size)
    print(f"sft: {source.name}: {source.share:.1%} of the rows, {passes:.2f} "
          f"passes over its {source.what} in {len(source.train):,} rows",
          flush=True)
  workdir.start_run(config.workdir, config)
  keep_tokenizer(config.workdir, tokenizer)
  schedule = make_schedule(config.optimizer, config.num_steps)
  loss_fn = functools.partial(language_model_loss, config=model,
                              loss=config.loss)
  flops = flops_per_token(model, config.seq_len)
  if adapter is not None:
    loss_fn = functools.partial(adapters.adapter_loss, loss_fn=loss_fn,
                                lora=config.lora)
    flops = adapters.adapter_flops_per_token(model, config.lora,
                                             config.seq_len)
    print(adapters.describe_adapter(model, adapter), flush=True)
  step_fn = jax.jit(
      functools.partial(train_step, loss_fn=loss_fn, tx=tx,
                        num_microbatches=config.num_microbatches,
                        ema_decay=config.optimizer.ema_decay,
                        layer_norms=config.logging.layer_norms),
      donate_argnums=0)
  checkpointer = Checkpointer(config.workdir, config.checkpoint, model, "sft",
                              adapter)

  def evaluate(params):
    """Validation loss in nats per trained token, of each kind and of all."""
    if adapter is not None:
      params = attach(start.frozen, params, config.lora)
    sums = {kind: sum_nll(
        params, (data[i] for i in range(min(
            len(data), config.eval_batches or len(data)))), model,
        chunk=config.loss.chunk) for kind, data in validation.items()}
    losses = {f"val_loss/{kind}": nll / weight
              for kind, (nll, weight) in sums.items()}
    if sums:
      losses["val_loss"] = (sum(nll for nll, _ in sums.values())
                            / sum(weight for _, weight in sums.values()))
    return losses

  with jax.set_mesh(mesh), told_out_of_memory(config, model):
    start = startup.start_or_resume(placed, model, tx, checkpointer)
    state, step = start.state, start.step
    # How long the watched loss has not fallen is part of a checkpoint.
    plateau = start.loop or {"best": math.inf, "stale": 0}
    print(f"sft: {start.origin}, step {step} of {config.num_steps}",
          flush=True)
    with MetricLogger(
        config.workdir, config.logging, config.num_steps, step,
        tokens_per_step=config.batch_size * config.seq_len,
        flops_per_token=flops, on_step=StepGuard(config, schedule)
    ) as logger, StopSignals() as signals:

      def validate(step, plateau):
        """Writes the losses; how long the watched one has not fallen."""
        losses = evaluate(state.averaged)
        logger.write(step, losses)
        if not config.plateau_metric:
          return plateau
        loss = losses[f"val_loss/{config.plateau_metric}"]
        # Small falls add up: the bar moves only when it is passed.
        if improves(loss, plateau["best"], config.plateau_min_delta):
          return {"best": loss, "stale": 0}
        return {"best": plateau["best"], "stale": plateau["stale"] + 1}

      if step == 0:
        logger.write(0, evaluate(state.averaged))
      elif start.loop.get("evaluate"):
        plateau = validate(step, plateau)
      stopping = False
      batches = pipeline.iterate(train, step)
      while (step < config.num_steps
             and plateau["stale"] < config.plateau_patience):
        batch = global_batch(logger.next(batches), mesh, model.rules)
        state, metrics = step_fn(state, start.frozen, batch)
        step += 1
        logger.log(step, {**metrics, "learning_rate": schedule(step - 1)})
        last = step == config.num_steps
        stopping = not last and signals.stop_after(step)
        due = last or (config.eval_every and step % config.eval_every == 0)
        if due and not stopping:  # else there is time to save only
          plateau = validate(step, plateau)
          last = last or plateau["stale"] >= config.plateau_patience
        if last or stopping or step % config.checkpoint.every == 0:
          logger.flush()
          checkpointer.save(step, state, {"next_batch": step},
                            {**plateau, "evaluate": bool(due and stopping)})
        if stopping:
          break
      batches.close()
    checkpointer.close()
  if stopping:
    raise Preempted(step)
  if config.plateau_metric and step < config.num_steps:
    print(f"sft: the {config.plateau_metric} validation loss has not fallen "
          f"by {config.plateau_min_delta:.1%} in {config.plateau_patience} "
          f"validations; stopped at step {step}", flush=True)

  evaluations = results.read_metrics(config.workdir, "val_loss")
  summary = {"steps": step, "tokens": step * config.batch_size * config.seq_len,
             "plateau": plateau["stale"] >= config.plateau_patience}
  for place, record in (("start", evaluations[:1]), ("end", evaluations[-1:])):
    for name, value in (record[0] if record else {}).items():
      if name.startswith("val_loss"):
        summary[f"{name}_{place}"] = value
  return results.write_results(config, summary)


if __name__ == "__main__":
  config_flags.launch(SftConfig, run)
