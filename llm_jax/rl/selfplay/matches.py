"""Matches: random openings, each played twice with the colours exchanged."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ConnectFourConfig
from llm_jax.rl.selfplay.elo import EloDifference, elo_difference
from llm_jax.rl.selfplay.episodes import Record, play_games, random_openings
from llm_jax.rl.selfplay.game_text import board_text, to_text
from llm_jax.rl.selfplay.players import Player


@functools.partial(jax.jit, static_argnames=("players", "pairs", "game"))
def _play_pairs(players: tuple[Player, Player], params: tuple[Any, Any],
                pairs: int, key: jax.Array,
                game: ConnectFourConfig) -> tuple[Record, Record]:
  """The games with the first player beginning, and those with the second."""
  openings_PO = random_openings(jax.random.fold_in(key, 0), pairs,
                                game.opening_plies, game)
  lengths_P = jnp.full(pairs, game.opening_plies, jnp.int32)
  return tuple(
      play_games(players[::order], params[::order], openings_PO, lengths_P,
                 jax.random.fold_in(key, number), game)
      for number, order in ((1, 1), (2, -1)))


def play_match(players: tuple[Player, Player], params: tuple[Any, Any],
               pairs: int, key: jax.Array, game: ConnectFourConfig,
               bootstraps: int) -> tuple[EloDifference, tuple[Record, Record]]:
  """How much stronger `players[0]` is than `players[1]`.

  Args:
    players: the two.
    params: theirs, or None.
    pairs: openings of `game.opening_plies` random moves; the same ones for the
      same key, whoever plays.
    key: of openings and draws.
    game: the board.
    bootstraps: resamples of the interval.

  Returns:
    (the difference, (games in which `players[0]` begins, those in which it is
    second)).
  """
  begun, answered = _play_pairs(players, params, pairs, key, game)
  outcomes_P2 = np.stack([np.asarray(begun.outcome_B),
                          -np.asarray(answered.outcome_B)], axis=1)
  return elo_difference((outcomes_P2 + 1) / 2, bootstraps), (begun, answered)


def match_texts(records: tuple[Record, Record], names: tuple[str, str],
                count: int, game: ConnectFourConfig) -> list[dict[str, str]]:
  """The first `count` pairs of a match as text, for people to read.

  Args:
    records: of `play_match`.
    names: of the two players.
    count: pairs.
    game: the board.

  Returns:
    For each game who began, the moves as words, the final board, the winner.
  """
  found = []
  for row in range(count):
    for record, (first, second) in zip(records, (names, names[::-1])):
      plies = int(np.sum(record.played_BT[row]))
      columns = np.asarray(record.columns_BT[row, :plies])
      choices_TW = np.asarray(record.choices_BTW[row, :plies])
      moves = np.take_along_axis(choices_TW, columns[:, None], axis=1)[:, 0]
      winner = {1: first, -1: second}.get(int(record.outcome_B[row]), "nobody")
      found.append({"first": first, "second": second, "winner": winner,
                    "game": to_text(moves, game),
                    "board": board_text(columns.tolist(), game)})
  return found
