"""Trains a base model on token windows: the next token, over and over.

    python -m experiments.pretrain --config=configs/quickstart_pretrain.py
    python -m experiments.pretrain --data.path=my_book.txt \\
        --data.tokenizer=runs/tokenizer --workdir=runs/book

Reads token shards of `experiments.tokenize_corpus` (with --data.mixture several
of them, each with its share), or raw text, which it tokenises into
`<workdir>/shards` first. Writes `<workdir>/metrics.jsonl`,
`samples.jsonl`, TensorBoard files, checkpoints and, at the end,
`results.json`. Started again it goes on where the last checkpoint left it, as
after SIGTERM, upon which it saves and exits with code 75.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from llm_jax import config_flags
from llm_jax.config import PretrainConfig, TextConfig, TokenizeCorpusConfig


def open_sources(config: PretrainConfig) -> list[Any]:
  """What is trained on: the parts of `data.mixture`, or `data.path` alone,
  which is tokenised first where it is raw text."""
  from experiments import tokenize_corpus
  from llm_jax.config import require
  from llm_jax.data.mixture import open_sources as open_paths
  from llm_jax.data.token_shards import read_meta
  data = config.data
  if data.mixture:
    return open_paths(data.sources())
  if read_meta(data.path) is not None:
    return open_paths([(data.path, 1.0)])
  require(bool(data.tokenizer),
          f"data.path={data.path} holds no token shards; if it is raw text, "
          "name its tokenizer with --data.tokenizer (a directory made by "
          "experiments.train_tokenizer).")
  output = f"{config.workdir}/shards"
  tokenize_corpus.run(TokenizeCorpusConfig(
      data=TextConfig(path=data.path, text_column=data.text_column,
                      errors=data.errors,
                      validation_fraction=data.validation_fraction,
                      validation_path=data.validation_path),
      tokenizer=data.tokenizer, output=output, seed=config.seed))
  return open_paths([(output, 1.0)])


def run(config: PretrainConfig) -> dict[str, Any]:
  """Trains to `num_steps`; returns what `results.json` holds."""
  import jax
  from llm_jax import distributed, workdir
  from llm_jax.data import pipeline
  from llm_jax.data.mixture import passes
  from llm_jax.evals.bits_per_byte import evaluate_bits_per_byte
  from llm_jax.flops import flops_per_token
  from llm_jax.inference.completions import complete
  from llm_jax.metrics import MetricLogger
  from llm_jax.model.params import count_params
  from llm_jax.sharding import global_batch, make_mesh, process_rows
  from llm_jax.training import results, startup
  from llm_jax.training.checkpoints import Checkpointer
  from llm_jax.training.losses import language_model_loss
  from llm_jax.training.memory_errors import (
      check_memory, told_out_of_memory)
  from llm_jax.training.optimizers import make_optimizer, make_schedule
  from llm_jax.training.preemption import Preempted, StopSignals
  from llm_jax.training.saved_models import keep_tokenizer
  from llm_jax.training.step_guard import StepGuard
  from llm_jax.training.train_step import train_step

  distributed.start(config.distributed)
  if (finished := results.finished_results(config)) is not None:
    return finished
  sources = open_sources(config)
  tokenizer = sources[0].shards.load_tokenizer()
  model = dataclasses.replace(config.model,
                              vocab_size=sources[0].shards.vocab_size)
  mesh = make_mesh(config.mesh)
  startup.check_run(config, model, mesh)
  tx = make_optimizer(config.optimizer, config.num_steps, model)
  memory = check_memory(config, model, mesh, tx)
  layout = (config.seq_len, config.batch_size, config.seed,
            process_rows(mesh, model.rules, config.batch_size))
  train = pipeline.mixture_dataset(
      [(source.shards, source.share) for source in sources], *layout,
      numbered=config.logging.examples)
  # A corpus may hold nothing out; then only the samples show how it goes.
  held_out = [source for source in sources
              if source.shards.num_bytes("validation")]
  validation = {source.name: pipeline.pretrain_dataset(
      source.shards, "validation", *layout) for source in held_out}
  workdir.start_run(config.workdir, config)
  keep_tokenizer(config.workdir, tokenizer)
  print(startup.describe(model, config.seq_len), flush=True)
  print(f"pretrain: {memory}", flush=True)
  for source in sources:
    epochs = passes(source, config.seq_len,
                    config.num_steps * config.batch_size)
    print(f"pretrain: {source.shards.path}: {source.share:.1%} of the tokens, "
          f"{epochs:.2f} passes over it", flush=True)

  schedule = make_schedule(config.optimizer, config.num_steps)
  loss_fn = functools.partial(language_model_loss, config=model,
                              loss=config.loss)
  step_fn = jax.jit(
      functools.partial(train_step, loss_fn=loss_fn, tx=tx,
                        num_microbatches=config.num_microbatches,
                        ema_decay=config.optimizer.ema_decay,
                        layer_norms=config.logging.layer_norms),
      donate_argnums=0)
  checkpointer = Checkpointer(config.workdir, config.checkpoint, model,
                              "pretrain")
  with jax.set_mesh(mesh), told_out_of_memory(config, model):
    start = startup.start_or_resume(config, model, tx, checkpointer)
    state = start.state
    print(f"pretrain: {start.origin}, step {start.step} of "
          f"{config.num_steps}", flush=True)
    with MetricLogger(
        config.workdir, config.logging, config.num_steps, start.step,
        tokens_per_step=config.batch_size * config.seq_len,
        flops_per_token=flops_per_token(model, config.seq_len),
        on_step=StepGuard(config, schedule)
    ) as logger, StopSignals() as signals:

      def evaluate(step):
        metrics, texts = {}, []
        bits = {source.name: evaluate_bits_per_byte(
            state.averaged, validation[source.name],
            source.shards.num_bytes("validation"), model,
            max_batches=config.eval_batches,
            chunk=config.loss.chunk) for source in held_out}
        if bits:
          metrics["val_bits_per_byte"] = sum(
              source.share * bits[source.name] for source in held_out
          ) / sum(source.share for source in held_out)
        if len(sources) > 1:
          metrics |= {f"val_bits_per_byte/{name}": value
                      for name, value in bits.items()}
        if config.sample_tokens:
          texts = complete(state.averaged, config.sample_prompts, tokenizer,
                           model, config.sample_tokens, seed=config.seed)
        logger.write(step, metrics, [
            {"prompt": prompt, "text": text}
            for prompt, text in zip(config.sample_prompts, texts)])

      if start.step == 0 or start.loop.get("evaluate"):
        evaluate(start.step)
      stopping = False
      batches = pipeline.iterate(train, start.step)
      for step in range(start.step + 1, config.num_steps + 1):
        batch = global_batch(logger.next(batches), mesh, model.rules)
        state, metrics = step_fn(state, None, batch)
        logger.log(step, {**metrics, "learning_rate": schedule(step - 1)})
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
      batches.close()
    checkpointer.close()
  if stopping:
    raise Preempted(step)

  bits = [record["val_bits_per_byte"] for record in
          results.read_metrics(config.workdir, "val_bits_per_byte")]
  return results.write_results(config, {
      "parameters": count_params(model),
      "tokens": config.num_steps * config.batch_size * config.seq_len,
      "val_bits_per_byte_start": bits[0] if bits else None,
      "val_bits_per_byte_end": bits[-1] if bits else None})


if __name__ == "__main__":
  config_flags.launch(PretrainConfig, run)
