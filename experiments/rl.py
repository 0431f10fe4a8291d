"""Reinforcement learning with verifiable rewards.

    python -m experiments.rl --config=configs/quickstart_rl.py
    python -m experiments.rl --init_from=runs/sft \\
        --data.path=problems.jsonl --workdir=runs/reasoner

Each step draws `batch_size` problems, samples `group_size` answers to each from
the current model, checks them, and raises the probability of those that did
better than their group (GRPO, Shao et al. 2024). The user's own problems are
JSON objects (or parquet rows) with `prompt` and `answer`; an answer counts if
it ends in "#### ANSWER" and stops. Started again it goes on from the last
checkpoint, with the same problems and the same random numbers.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from llm_jax import config_flags
from llm_jax.config import RlConfig


def run(config: RlConfig) -> dict[str, Any]:
  """Trains for `num_steps`; returns `results.json`."""
  import jax
  import numpy as np
  from llm_jax import distributed, workdir
  from llm_jax.config import require
  from llm_jax.evals.generative import evaluate_problems, paired_difference
  from llm_jax.metric_writers import read_jsonl
  from llm_jax.metrics import MetricLogger
  from llm_jax.paths import as_path
  from llm_jax.rl.environments.loading import load_environment
  from llm_jax.rl.objectives import policy_loss_fn
  from llm_jax.rl.rollouts import encode_prompts, prompt_slots, rollout
  from llm_jax.sharding import global_batch, make_mesh
  from llm_jax.tokenizer.loading import load_tokenizer
  from llm_jax.training import results, startup
  from llm_jax.training.checkpoints import Checkpointer
  from llm_jax.training.memory_errors import told_out_of_memory
  from llm_jax.training.optimizers import make_optimizer, make_schedule
  from llm_jax.training.preemption import Preempted, StopSignals
  from llm_jax.training.saved_models import (
      TOKENIZER, checkpoint_info, keep_tokenizer, load_params)
  from llm_jax.training.step_guard import StepGuard
  from llm_jax.training.train_step import train_step

  distributed.start(config.distributed)
  if (finished := results.finished_results(config)) is not None:
    return finished
  require(bool(config.init_from), "init_from is empty; name the run directory "
          "of a finetuned model.")
  model = startup.model_of(config.init_from)
  tokenizer = load_tokenizer(
      str(checkpoint_info(config.init_from)[0] / TOKENIZER))
  mesh = make_mesh(config.mesh)
  startup.check_run(config, model, mesh,
                    config.batch_size * config.group_size)
  slots = prompt_slots(config, model)
  environment = load_environment(config.data, config.seed)
  held_out = environment.held_out_problems(config.data.eval_problems)
  longest = max(map(len, encode_prompts(held_out, tokenizer)))
  require(longest <= slots, f"a problem has {longest} tokens, but seq_len="
          f"{config.seq_len} less sampling.max_new_tokens="
          f"{config.sampling.max_new_tokens} leaves room for {slots}; raise "
          "the first or lower the second.")
  workdir.start_run(config.workdir, config)
  keep_tokenizer(config.workdir, tokenizer)

  num_updates = config.num_steps * config.updates_per_rollout
  tx = make_optimizer(config.optimizer, num_updates, model)
  schedule = make_schedule(config.optimizer, num_updates)
  step_fn = jax.jit(
      functools.partial(train_step, loss_fn=policy_loss_fn(model, config),
                        tx=tx, num_microbatches=config.num_microbatches,
                        ema_decay=config.optimizer.ema_decay,
                        layer_norms=config.logging.layer_norms),
      donate_argnums=0)
  checkpointer = Checkpointer(config.workdir, config.checkpoint, model, "rl")

  with jax.set_mesh(mesh), told_out_of_memory(config, model):
    start = startup.start_or_resume(config, model, tx, checkpointer)
    state = start.state
    reference = load_params(config.init_from)[0] if config.kl_coef else None
    print(f"rl: {start.origin}, step {start.step} of {config.num_steps}",
          flush=True)
    with MetricLogger(
        config.workdir, config.logging, config.num_steps, start.step,
        console=("reward", "completion_tokens", "informative_groups"),
        on_step=StepGuard(config, schedule, config.updates_per_rollout)
    ) as logger, StopSignals() as signals:

      def evaluate(step):
        result = evaluate_problems(
            state.averaged, held_out, environment, tokenizer, config.sampling,
            model, key=jax.random.key(config.seed),
            batch_size=config.batch_size * config.group_size)
        logger.write(step, {f"eval_{name}": value for name, value in
                            result.summary().items()},
                     [{"eval": i, "prompt": problem.prompt, "text": text,
                       "answer": problem.answer, "correct": float(correct)}
                      for i, (problem, text, correct) in enumerate(zip(
                          held_out, result.completions, result.correct_N))])

      if start.step == 0 or start.loop.get("evaluate"):
        evaluate(start.step)
      stopping = False
      for step in range(start.step + 1, config.num_steps + 1):
        began = time.monotonic()
        rollouts, texts = rollout(state.params, environment, tokenizer, step,
                                  model, config)
        sampled = time.monotonic()
        batch = global_batch(rollouts.batch(), mesh, model.rules, whole=True)
        for _ in range(config.updates_per_rollout):
          state, metrics = step_fn(state, reference, batch)
        metrics |= rollouts.metrics(config.group_size)
        metrics["seconds_rollout"] = sampled - began
        metrics["learning_rate"] = schedule(
            step * config.updates_per_rollout - 1)
        logger.log(step, metrics)
        last = step == config.num_steps
        stopping = not last and signals.stop_after(step)
        due = last or (config.eval_every and step % config.eval_every == 0)
        if due and not stopping:  # else there is time to save only
          evaluate(step)
        if last or stopping or step % config.checkpoint.every == 0:
          logger.flush()
          checkpointer.save(step, state, {"next_batch": step},
                            {"evaluate": bool(due and stopping)})
        if stopping:
          break
    checkpointer.close()
  if stopping:
    raise Preempted(step)

  samples = [r for r in read_jsonl(as_path(config.workdir) / "samples.jsonl")
             if "eval" in r]
  before, after = (np.array([r["correct"] for r in samples
                             if r["step"] == step])
                   for step in (0, config.num_steps))
  gain = paired_difference(before, after)
  records = results.read_metrics(config.workdir, "reward")
  return results.write_results(config, {
      "eval_problems": len(held_out), "accuracy_before": float(before.mean()),
      "accuracy_after": float(after.mean()), "gain": gain.mean,
      "gain_low": gain.low, "gain_high": gain.high,
      "reward_curve": [[r["step"], r["reward"]] for r in records],
      # What the model computed, for a comparison at equal computation.
      "rollout_rows": config.num_steps * config.batch_size * config.group_size,
      "row_tokens": config.seq_len})


if __name__ == "__main__":
  config_flags.launch(RlConfig, run)
