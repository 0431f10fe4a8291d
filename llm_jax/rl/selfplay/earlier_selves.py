"""Earlier selves as opponents, so that a policy does not forget what beat it.

Silver et al. 2016 ("Mastering the game of Go", methods) draw the opponent of
each batch from a pool of earlier policies. Which one it is here is a function
of (seed, step) alone, and the selves lie beside the run's checkpoints, so that
a run that is killed goes on with the same opponents.
"""

from __future__ import annotations

from typing import Any

from etils import epath
import jax
import numpy as np

from llm_jax.config import ImprovementConfig, ModelConfig, require
from llm_jax.model.params import Params
from llm_jax.rl.selfplay.episodes import Record, training_games
from llm_jax.rl.selfplay.losses import improvement_batch
from llm_jax.rl.selfplay.players import ModelPlayer
from llm_jax.tokenizer.protocol import Tokenizer
from llm_jax.training.saved_models import load_params, save_params

_DIRECTORY = "earlier_selves"


def opponent_step(step: int, seed: int, config: ImprovementConfig) -> int:
  """The step whose model is the opponent at `step`.

  One of the newest `pool_size` that were kept before `step`; 0 is the imitator
  that the run began from.
  """
  newest = (step - 1) // config.pool_every
  oldest = max(0, newest - config.pool_size + 1)
  rng = np.random.default_rng((seed, step))
  return int(rng.integers(oldest, newest + 1)) * config.pool_every


class EarlierSelves:
  """The kept models of a run.

  Args:
    workdir: of the run.
    model: the model.
    tokenizer: of the game, saved with each.
    config: pool_size, pool_every.
    seed: which of them are drawn.
  """

  def __init__(self, workdir: str, model: ModelConfig, tokenizer: Tokenizer,
               config: ImprovementConfig, seed: int):
    self._directory = epath.Path(workdir).resolve() / _DIRECTORY
    self._model, self._tokenizer = model, tokenizer
    self._config, self._seed = config, seed
    self._loaded: dict[int, Params] = {}

  def keep(self, step: int, params: Params) -> None:
    """Keeps the model of `step` where it is one of those that are kept.

    What an interrupted run had kept of a later step than it goes on from is
    written again, and is the same.
    """
    if step % self._config.pool_every:
      return
    place = self._directory / str(step)
    if place.exists():
      place.rmtree()
    self._loaded.pop(step, None)
    save_params(str(place), params, self._model, self._tokenizer, "rl")

  def opponent(self, step: int) -> Params:
    """The parameters of the opponent at `step`.

    Raises:
      ConfigError: it is gone.
    """
    number = opponent_step(step, self._seed, self._config)
    if number not in self._loaded:
      place = self._directory / str(number)
      require(place.exists(), f"{place} is gone, which is an opponent of step "
              f"{step}; choose another --workdir, or --improvement.pool_share"
              "=0.")
      self._loaded[number] = load_params(str(place))[0]
      newest = sorted(self._loaded)[-self._config.pool_size:]
      self._loaded = {n: self._loaded[n] for n in (*newest, number)}
    return self._loaded[number]


def games_to_learn_from(params: Any, earlier: Any, key: jax.Array,
                        player: ModelPlayer, config: ImprovementConfig
                        ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """A batch of games of the model with itself and with an earlier self.

  Args:
    params: the model's.
    earlier: the earlier self's; not read where `pool_share` is 0.
    key: of the step.
    player: the model as a player that draws its moves.
    config: batch_size, pool_share, gae_lambda, normalize_std.

  Returns:
    (batch of `improvement_loss_fn`, metrics: `game_plies`, `first_wins`,
    `draws`; `pool_score`, the share of the points against the earlier self).
  """
  game, pool = player.game, config.pool_pairs
  plies_1T = np.arange(game.cells)[None, :]
  sides = [((player,), (params,), config.batch_size - 2 * pool, plies_1T >= 0)]
  if pool:
    sides += [((player, player), (params, earlier), pool, plies_1T % 2 == 0),
              ((player, player), (earlier, params), pool, plies_1T % 2 == 1)]
  records, trained = [], []
  for number, (players, of_players, games, own_1T) in enumerate(sides):
    if not games:
      continue
    records.append(training_games(players, of_players, games,
                                  jax.random.fold_in(key, number), game))
    trained.append(np.broadcast_to(own_1T, (games, game.cells)))
  record: Record = jax.tree.map(lambda *x: jax.numpy.concatenate(x), *records)
  metrics = {
      "game_plies": record.played_BT.sum(1).mean(),
      "first_wins": (record.outcome_B == 1).mean(),
      "draws": (record.outcome_B == 0).mean()}
  if pool:
    first, second = records[-2:]
    metrics["pool_score"] = 0.5 + 0.25 * (first.outcome_B.mean()
                                          - second.outcome_B.mean())
  return improvement_batch(record, np.concatenate(trained), config), metrics


def parts_of(batch: dict[str, jax.Array], key: jax.Array,
             config: ImprovementConfig) -> list[dict[str, jax.Array]]:
  """`batch` dealt out to updates at random, anew in each epoch; traceable."""
  rows, parts = config.batch_size, []
  for epoch in range(config.epochs):
    order = jax.random.permutation(jax.random.fold_in(key, epoch), rows)
    for chosen in order.reshape(config.updates, -1):
      parts.append(jax.tree.map(lambda x, c=chosen: x[c], batch))
  return parts
