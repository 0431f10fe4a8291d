"""The AlphaGo lesson: imitation ends at its teacher, self-play does not.

    python -m experiments.selfplay --config=configs/selfplay.py

A Transformer that reads Connect Four as text first imitates the games of a
teacher, a shallow search that plays a fifth of its moves at random, until it
has nothing left to learn from them. Then it plays against itself, and raises
the probability of moves that did better than it had expected (Silver et al.
2016). Its strength in Elo, the teacher's being 0, is measured on the way in
matches of random openings that are each played with both colours; at the end
all meet each other. Started again it goes on from the last checkpoint.
Results are `selfplay.json` and `selfplay.svg` in the workdir.
"""

from __future__ import annotations

import functools
from typing import Any

from llm_jax import config_flags
from llm_jax.config import SelfplayConfig


def strength(params: Any, config: SelfplayConfig, model: Any
             ) -> tuple[dict[str, float], list[dict[str, Any]]]:
  """Elo against the teacher: metrics, and two games as texts.

  `elo` is of the model that plays its likeliest move, `elo_sampled` of the one
  that draws its moves; each with `_low` and `_high` of the 95% interval.
  """
  import jax
  from llm_jax.rl.selfplay.matches import match_texts, play_match
  from llm_jax.rl.selfplay.players import ModelPlayer, SearchPlayer
  teacher, metrics = SearchPlayer(config.teacher, config.game), {}
  for name, greedy in (("elo", True), ("elo_sampled", False)):
    # The same openings at every measurement.
    found, records = play_match(
        (ModelPlayer(model, config.game, greedy), teacher), (params, None),
        config.match.pairs, jax.random.key(config.seed), config.game,
        config.match.bootstraps)
    metrics |= {name: found.elo, f"{name}_low": found.low,
                f"{name}_high": found.high}
    if greedy:
      samples = match_texts(records, ("model", "teacher"), 1, config.game)
  return metrics, samples


def train_stage(name: str, config: SelfplayConfig,
                model: Any) -> dict[str, Any]:
  """Runs stage `imitation` or `improvement`, or the rest of it.

  Returns:
    Its `results.json`, with the curve of its strength.
  """
  import jax
  from llm_jax import workdir
  from llm_jax.metrics import MetricLogger
  from llm_jax.rl.selfplay.game_text import game_tokenizer
  from llm_jax.sharding import make_mesh
  from llm_jax.training import results, startup
  from llm_jax.training.checkpoints import Checkpointer
  from llm_jax.training.memory_errors import told_out_of_memory
  from llm_jax.training.optimizers import make_optimizer, make_schedule
  from llm_jax.training.preemption import Preempted, StopSignals
  from llm_jax.training.saved_models import keep_tokenizer
  from llm_jax.training.step_guard import StepGuard

  stage = config.stage(name)
  if (finished := results.finished_results(stage)) is not None:
    return finished
  mesh = make_mesh(stage.mesh)
  imitates = name == "imitation"
  updates = 1 if imitates else stage.updates * stage.epochs
  startup.check_run(stage, model, mesh, stage.batch_size // (
      1 if imitates else stage.updates))
  workdir.start_run(stage.workdir, stage)
  tokenizer = game_tokenizer(config.game)
  keep_tokenizer(stage.workdir, tokenizer)
  tx = make_optimizer(stage.optimizer, stage.num_steps * updates, model)
  schedule = make_schedule(stage.optimizer, stage.num_steps * updates)
  checkpointer = Checkpointer(stage.workdir, stage.checkpoint, model,
                              "sft" if imitates else "rl")
  with jax.set_mesh(mesh), told_out_of_memory(stage, model):
    start = startup.start_or_resume(stage, model, tx, checkpointer)
    state = start.state
    step_fn = (imitation_step if imitates else improvement_step)(
        config, model, tx, tokenizer, start)
    print(f"{name}: {start.origin}, step {start.step} of {stage.num_steps}",
          flush=True)
    with MetricLogger(
        stage.workdir, stage.logging, stage.num_steps, start.step,
        console=(("move_loss", "excess", "result_loss") if imitates else
                 ("entropy", "game_plies", "pool_score", "result_loss")),
        on_step=StepGuard(stage, schedule, updates)
    ) as logger, StopSignals() as signals:
      if start.step == 0 or start.loop.get("evaluate"):
        logger.write(start.step, *strength(state.averaged, config, model))
      stopping = False
      for step in range(start.step + 1, stage.num_steps + 1):
        state, metrics = step_fn(state, step)
        metrics["learning_rate"] = schedule(step * updates - 1)
        logger.log(step, metrics)
        last = step == stage.num_steps
        stopping = not last and signals.stop_after(step)
        due = last or (stage.eval_every and step % stage.eval_every == 0)
        if due and not stopping:  # else there is time to save only
          logger.flush()
          logger.write(step, *strength(state.averaged, config, model))
        if last or stopping or step % stage.checkpoint.every == 0:
          logger.flush()
          checkpointer.save(step, state, {"next_batch": step},
                            {"evaluate": bool(due and stopping)})
        if stopping:
          break
    checkpointer.close()
  if stopping:
    raise Preempted(step)
  columns = ("step", "seconds", "elo", "elo_low", "elo_high", "elo_sampled",
             "elo_sampled_low", "elo_sampled_high")
  return results.write_results(stage, {
      "batch_size": stage.batch_size,
      "curve": [{c: r[c] for c in columns}
                for r in results.read_metrics(stage.workdir, "elo")]})


def imitation_step(config: SelfplayConfig, model: Any, tx: Any, tokenizer: Any,
                   start: Any) -> Any:
  """A function (state, step) -> (state, metrics): new games of the teacher,
  and one update towards its moves and their results."""
  del tokenizer, start
  import jax
  from llm_jax.rl.selfplay.episodes import training_games
  from llm_jax.rl.selfplay.losses import imitation_batch, imitation_loss_fn
  from llm_jax.rl.selfplay.players import SearchPlayer
  from llm_jax.training.train_step import train_step
  stage, teacher = config.imitation, SearchPlayer(config.teacher, config.game)
  key = jax.random.fold_in(jax.random.key(config.seed), 1)

  def games(step):
    return imitation_batch(training_games(
        (teacher,), (None,), stage.batch_size, jax.random.fold_in(key, step),
        config.game))
  play = jax.jit(games)
  update = jax.jit(functools.partial(
      train_step, loss_fn=imitation_loss_fn(model, stage.value_coef), tx=tx,
      num_microbatches=stage.num_microbatches,
      ema_decay=stage.optimizer.ema_decay,
      layer_norms=stage.logging.layer_norms), donate_argnums=0)
  return lambda state, step: update(state, None, play(step))


def improvement_step(config: SelfplayConfig, model: Any, tx: Any,
                     tokenizer: Any, start: Any) -> Any:
  """A function (state, step) -> (state, metrics): games of the model with
  itself and an earlier self, and the updates that they are good for."""
  import jax
  from llm_jax.rl.selfplay.earlier_selves import (
      EarlierSelves, games_to_learn_from, parts_of)
  from llm_jax.rl.selfplay.losses import improvement_loss_fn
  from llm_jax.rl.selfplay.players import ModelPlayer
  from llm_jax.training.train_step import train_step
  stage, player = config.improvement, ModelPlayer(model, config.game)
  key = jax.random.fold_in(jax.random.key(config.seed), 2)
  selves = EarlierSelves(config.stage("improvement").workdir, model, tokenizer,
                         stage, config.seed)
  if start.step == 0 and stage.pool_pairs:
    selves.keep(0, start.state.params)

  def games(params, earlier, step):
    play_key, deal_key = (jax.random.fold_in(jax.random.fold_in(key, step), i)
                          for i in range(2))
    batch, metrics = games_to_learn_from(params, earlier, play_key, player,
                                         stage)
    return parts_of(batch, deal_key, stage), metrics
  play = jax.jit(games)
  update = jax.jit(functools.partial(
      train_step, loss_fn=improvement_loss_fn(model, stage), tx=tx,
      num_microbatches=stage.num_microbatches,
      ema_decay=stage.optimizer.ema_decay,
      layer_norms=stage.logging.layer_norms), donate_argnums=0)

  def step_fn(state, step):
    earlier = selves.opponent(step) if stage.pool_pairs else None
    parts, found = play(state.params, earlier, step)
    for number, part in enumerate(parts):
      state, metrics = update(state, None, part)
      if number == 0:  # on-policy: what sampled is what is trained
        found["ratio_error_first"] = metrics["ratio_error"]
    if stage.pool_pairs:
      selves.keep(step, state.params)
    return state, metrics | found
  return step_fn


def final_matches(config: SelfplayConfig, model: Any) -> list[dict[str, Any]]:
  """Everybody who matters against everybody who matters, ready for JSON."""
  import dataclasses
  import jax
  from llm_jax.config import TeacherConfig
  from llm_jax.rl.selfplay.matches import play_match
  from llm_jax.rl.selfplay.players import ModelPlayer, SearchPlayer
  from llm_jax.rl.selfplay.tree_search import TreePlayer
  from llm_jax.training.saved_models import load_params
  game, found = config.game, []
  imitator, improved = (load_params(config.stage(name).workdir)[0]
                        for name in ("imitation", "improvement"))
  models = {f"{name}, {manner}": (ModelPlayer(model, game, greedy), params)
            for name, params in (("imitation", imitator),
                                 ("self-play", improved))
            for manner, greedy in (("greedy", True), ("sampled", False))}
  searches = {t.name: (SearchPlayer(t, game), None) for t in (
      config.teacher, *(TeacherConfig(depth, 0.0)
                        for depth in config.match.rivals))}
  teacher, *rivals = searches
  meetings = [(a, b, config.match.final_pairs)
              for b in searches for a in models]
  meetings += [(rival, teacher, config.match.final_pairs) for rival in rivals]
  meetings += [(f"self-play, {manner}", f"imitation, {manner}",
                config.match.final_pairs) for manner in ("greedy", "sampled")]
  players = models | searches
  if config.search.simulations:
    name = f"self-play, {config.search.simulations} simulations"
    players[name] = (TreePlayer(model, game, config.search), improved)
    meetings += [(name, other, config.search.pairs)
                 for other in ("self-play, greedy", *searches)]
  for a, b, pairs in meetings:
    pair = players[a], players[b]
    result, _ = play_match(tuple(p[0] for p in pair), tuple(p[1] for p in pair),
                           pairs, jax.random.key(config.seed + 1), game,
                           config.match.bootstraps)
    print(f"selfplay: {a} against {b}: {result.told()}", flush=True)
    found.append({"player": a, "opponent": b} | dataclasses.asdict(result))
  return found


def run(config: SelfplayConfig) -> dict[str, Any]:
  """Both stages, then the matches; returns what `selfplay.json` holds.

  Raises:
    ConfigError: a setting that cannot work.
  """
  import dataclasses
  from llm_jax import workdir
  from llm_jax.config import require
  from llm_jax.paths import as_path
  from llm_jax.rl.selfplay.game_text import vocabulary
  from llm_jax.rl.selfplay.tree_search import require_mctx
  from llm_jax.run_record import write_json
  from llm_jax.serving.selfplay_figure import draw_selfplay
  from llm_jax.serving.svg_figures import require_matplotlib
  from llm_jax.training.startup import describe

  config.validate()
  require_matplotlib()
  if config.search.simulations:
    require_mctx()
  size = len(vocabulary(config.game))
  require(config.model.vocab_size in (0, size), "model.vocab_size is "
          f"{config.model.vocab_size}, but this game has {size} tokens; leave "
          "it 0.")
  model = dataclasses.replace(config.model, vocab_size=size)
  model.validate()
  directory = workdir.start_run(config.workdir, config)
  print(describe(model, config.game.cells), flush=True)
  stages = {name: train_stage(name, config, model)
            for name in ("imitation", "improvement")}
  report = {"teacher": config.teacher.name, **stages,
            "matches": final_matches(config, model)}
  for output in filter(None, (str(directory / "selfplay"), config.output)):
    output = as_path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output.parent / f"{output.name}.json", report)
    draw_selfplay(output.parent / f"{output.name}.svg", [report])
  return report


if __name__ == "__main__":
  config_flags.launch(SelfplayConfig, run)
