"""Reinforcement learning with verifiable rewards.

    python -m experiments.rl --config=configs/quickstart_rl.py
    python -m experiments.rl --init_from=runs/sft \\
        --data.path=problems.jsonl --workdir=runs/reasoner

Each step draws `batch_size` problems, samples `group_size` answers to each from
the current model, checks them, and raises the probability of those that did
better than their group (GRPO, Shao et al. 2024). Answers may call tools
(--tools.names), and a problem may be an episode of several turns; what the
model did not say itself is never trained. Some samples of each step are in
`rollouts.jsonl`, every reward is in `rewards.jsonl`, and in the end all of it
is a page, `rollouts.html` (experiments/view_rollouts.py). Started again it goes
on from the last checkpoint, with the same problems and the same random numbers.

    python -m experiments.rl --init_from=runs/sft --lora.rank=8 --ahead

trains an adapter, and samples the next step's answers while this one trains.
--init_from is a run of ours or whatever experiments.chat takes as --model,
which is then converted once, into `<workdir>/base`; its own chat template says
how it is asked, and at which tokens an answer ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any

from llm_jax import config_flags
from llm_jax.config import RlConfig


def run(config: RlConfig) -> dict[str, Any]:
  """Trains for `num_steps`; returns `results.json`."""
  import jax
  from llm_jax import distributed, workdir
  from llm_jax.convert.base_runs import base_run
  from llm_jax.config import require
  from llm_jax.evals.generative import evaluate_as_in_run
  from llm_jax.inference.tool_loop import require_tool_calls
  from llm_jax.inference.tools import load_tools
  from llm_jax.metrics import MetricLogger
  from llm_jax.paths import as_path
  from llm_jax.rl.ahead import RolloutSource
  from llm_jax.rl.collector import Collector
  from llm_jax.rl.credit import assign_credit
  from llm_jax.rl.critic import carried_critic
  from llm_jax.rl.curriculum import make_curriculum
  from llm_jax.rl.diagnostics import Diagnostics
  from llm_jax.rl.environments.loading import load_environment
  from llm_jax.rl.policy_logprobs import ratio_error
  from llm_jax.rl.policy_step import make_policy_step, minibatch
  from llm_jax.rl.rollout_log import RolloutLog
  from llm_jax.rl.rewards.scorer import make_scorer
  from llm_jax.rl.rollouts import check_prompts
  from llm_jax.rl.weight_sync import sampler_model, weight_sync
  from llm_jax.serving.rl_run import load_run
  from llm_jax.serving.rollouts_page import render_rl
  from llm_jax.sharding import global_batch, make_mesh
  from llm_jax.tokenizer.loading import load_tokenizer
  from llm_jax.training import adapters, results, startup
  from llm_jax.training.checkpoints import Checkpointer
  from llm_jax.training.memory_errors import told_out_of_memory
  from llm_jax.training.optimizers import make_optimizer, make_schedule
  from llm_jax.training.preemption import Preempted, StopSignals
  from llm_jax.training.saved_models import (
      CHECKPOINTS, TOKENIZER, checkpoint_info, keep_tokenizer, load_params)
  from llm_jax.training.step_guard import StepGuard

  distributed.start(config.distributed)
  if (finished := results.finished_results(config)) is not None:
    return finished
  placed = dataclasses.replace(config, init_from=base_run(config, "rl"))
  first, first_step, _ = checkpoint_info(placed.init_from)
  model = startup.model_of(placed.init_from)
  model = dataclasses.replace(
      model, remat=config.remat or model.remat,
      compute_dtype=config.compute_dtype or model.compute_dtype)
  tokenizer = load_tokenizer(str(first / TOKENIZER))
  mesh = make_mesh(config.mesh)
  rows = config.batch_size * config.group_size
  startup.check_run(placed, model, mesh, rows)
  adapter = startup.adapter_of(placed, model, mesh)
  tools = load_tools(config.tools)
  environment = load_environment(config.data, config.seed)
  curriculum = make_curriculum(environment, config.data.curriculum, config.seed)
  held_out = environment.held_out_problems(config.data.eval_problems)
  require(len(held_out) >= 2, f"{len(held_out)} problem is held out of "
          f"{config.data.path}, but an interval needs 2; give more problems, "
          "or more in data.eval_path, or raise data.eval_problems.")
  check_prompts(environment, config, model, tokenizer, tools)
  if tools:
    require_tool_calls(tokenizer)
  scorer = make_scorer(environment, config.rewards)
  workdir.start_run(config.workdir, config)
  keep_tokenizer(config.workdir, tokenizer)

  tx = make_optimizer(config.optimizer, config.policy_steps, model, config.lora)
  schedule = make_schedule(config.optimizer, config.policy_steps)
  in_warmup = config.num_steps * config.steps_per_rollout - config.policy_steps
  if adapter is not None:
    print(adapters.describe_adapter(model, adapter), flush=True)
  step_fn = jax.jit(make_policy_step(tx, config, model), donate_argnums=0)
  part_fn = jax.jit(functools.partial(
      minibatch, count=config.minibatches, group_size=config.group_size))
  credit_fn, error_fn = (
      jax.jit(functools.partial(function, model=model, config=config))
      for function in (assign_credit, ratio_error))
  checkpointer = Checkpointer(config.workdir, config.checkpoint, model, "rl",
                              adapter)
  collector = Collector(curriculum, scorer, tokenizer,
                        sampler_model(model, config.sync), config, tools)

  with jax.set_mesh(mesh), told_out_of_memory(config, model):
    start = startup.start_or_resume(placed, model, tx, checkpointer,
                                    carried_critic(config, model))
    state, loop = start.state, start.loop
    if loop:
      curriculum.restore(loop["curriculum"])
    whole = adapters.merged(start.frozen, model, config.lora)
    to_sampler = weight_sync(model, config.sync)
    # The model that the KL is taken to may have been trained further since.
    first_step = loop.get("first_step", first_step)
    reference = start.frozen
    if reference is None and config.objective.needs_reference:
      reference = load_params(str(first / CHECKPOINTS / str(first_step)))[0]
    frozen = {"reference": reference} if adapter is None else reference
    print(f"rl: {start.origin}, step {start.step} of {config.num_steps}",
          flush=True)
    with MetricLogger(
        config.workdir, config.logging, config.num_steps, start.step,
        console=("reward", "correct", "completion_tokens", "seconds_rollout",
                 "seconds_reward", "seconds_train"),
        on_step=StepGuard(config, schedule, config.steps_per_rollout)
    ) as logger, RolloutLog(
        config.workdir, start.step
    ) as samples, contextlib.closing(scorer), RolloutSource(
        collector.collect, ahead=config.ahead, num_steps=config.num_steps,
        waiting=loop.get("waiting")
    ) as source, StopSignals() as signals:

      def evaluate(step):
        result = evaluate_as_in_run(whole(state.averaged), held_out,
                                    environment, tokenizer, model, config,
                                    tools)
        logger.write(step, {f"eval_{name}": value for name, value in
                            result.summary().items()},
                     [{"eval": i, "prompt": problem.prompt, "text": text,
                       "answer": problem.answer, "correct": float(correct)}
                      for i, (problem, text, correct) in enumerate(zip(
                          held_out, result.completions, result.correct_N))])

      if start.step == 0 or loop.get("evaluate"):
        evaluate(start.step)
      diagnostics = Diagnostics(config.objective.compares_groups)
      stopping = False
      next_problem = loop.get("next_problem", start.step * config.batch_size)
      for step in range(start.step + 1, config.num_steps + 1):
        policy = whole(state.params)
        collected = source.next(to_sampler(policy), step, next_problem)
        next_problem = collected.next_problem
        batch = global_batch(collected.rollouts.batch(), mesh, model.rules,
                             whole=True)
        began = time.monotonic()
        # At each step this would be a forward pass more.
        checks = ({"ratio_error": float(error_fn(policy, batch))}
                  if step == 1 else {})
        critic = state.extra.get("critic")
        batch, credit = credit_fn(
            batch, collected.rollouts.rewards_B, policy,
            critic and critic.params, reference,
            valid_B=collected.rollouts.valid_B)
        del policy  # with an adapter, a whole model
        updates = []
        for number in range(config.steps_per_rollout):
          state, told = step_fn(state, frozen, part_fn(
              batch, number % config.minibatches))
          updates.append(told)
        metrics = mean_of_updates(updates)
        metrics = collected.metrics | metrics | credit | checks | {
            "seconds_train": time.monotonic() - began,
            "staleness": step - 1 - collected.sampled_after,
            "learning_rate": schedule(max(
                0, step * config.steps_per_rollout - 1 - in_warmup))}
        diagnostics.look(step, collected, **checks)
        samples.write(step, collected)
        logger.log(step, metrics)
        last = step == config.num_steps
        stopping = not last and signals.stop_after(step)
        due = last or (config.eval_every and step % config.eval_every == 0)
        if due and not stopping:  # else there is time to save only
          evaluate(step)
        if last or stopping or step % config.checkpoint.every == 0:
          logger.flush()
          samples.flush()
          waiting = source.state()  # before the curriculum, which it moves
          checkpointer.save(step, state, {"next_batch": step}, {
              "next_problem": next_problem, "waiting": waiting,
              "curriculum": curriculum.state(), "first_step": first_step,
              "evaluate": bool(due and stopping)})
        if stopping:
          break
    checkpointer.close()
  if stopping:
    raise Preempted(step)
  if jax.process_index() == 0:
    (as_path(config.workdir) / "rollouts.html").write_text(
        render_rl(load_run(config.workdir)), encoding="utf-8")
  return results.write_results(config, {
      "eval_problems": len(held_out), **summary(config),
      # With those that were replaced, for a comparison at equal computation.
      "rollout_rows": next_problem * config.group_size})


def mean_of_updates(updates: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """The metrics of a step's updates as one: means, but counts of the last."""
  import jax
  import numpy as np
  updates = jax.device_get(updates)
  return {name: value if name.startswith("skipped")
          else np.mean([told[name] for told in updates], axis=0)
          for name, value in updates[-1].items()}


def summary(config: RlConfig) -> dict[str, Any]:
  """What the run came to, from its files."""
  import numpy as np
  from llm_jax.evals.generative import paired_difference
  from llm_jax.metric_writers import read_jsonl
  from llm_jax.paths import as_path
  from llm_jax.training import results
  samples = [r for r in read_jsonl(as_path(config.workdir) / "samples.jsonl")
             if "eval" in r]
  before, after = (np.array([r["correct"] for r in samples
                             if r["step"] == step])
                   for step in (0, config.num_steps))
  gain = paired_difference(before, after)
  records = results.read_metrics(config.workdir, "reward")
  return {
      "accuracy_before": float(before.mean()),
      "accuracy_after": float(after.mean()), "gain": gain.mean,
      "gain_low": gain.low, "gain_high": gain.high,
      "reward_curve": [[r["step"], r["reward"]] for r in records]}


if __name__ == "__main__":
  config_flags.launch(RlConfig, run)
