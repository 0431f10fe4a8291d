"""The teacher: a search that sees so many plies ahead, and nothing beyond."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from llm_jax.config import ConnectFourConfig, TeacherConfig
from llm_jax.rl.selfplay.connect_four import (
    Position, landing_cells, legal_columns, play, winning_cells)

# A win two plies later is worth a little less, so that wins are not put off.
_LATER = 0.99


def move_values(position: Position, depth: int,
                game: ConnectFourConfig) -> jax.Array:
  """What each move leads to within `depth` plies, both sides at their best.

  v(move) = 1 if it wins, 0 if it draws or nothing is decided within reach,
  else -0.99 · max of v over the replies, searched one ply less deep.

  The last two plies need no boards of their own: the mover's stone does not
  change where the other would win, but for the cell that it covers and the one
  above, which it opens.

  Args:
    position: B games.
    depth: plies, at least 1.
    game: the board.

  Returns:
    float32 [B, W]; -inf for full columns.
  """
  legal_BW = legal_columns(position, game)
  cells_BW = landing_cells(position, game)
  mine_BC, theirs_BC = winning_cells(position, game)
  wins_BW = jnp.take_along_axis(mine_BC, cells_BW, axis=1) & legal_BW
  B, W = legal_BW.shape
  if depth == 1:
    values_BW = jnp.zeros((B, W))
  elif depth == 2:
    reply_BW = jnp.take_along_axis(theirs_BC, cells_BW, axis=1) & legal_BW
    above_BW = cells_BW + game.columns
    opened_BW = (jnp.take_along_axis(
        theirs_BC, jnp.minimum(above_BW, game.cells - 1), axis=1)
        & (above_BW < game.cells))
    others_BW = jnp.sum(reply_BW, axis=1, keepdims=True) - reply_BW > 0
    values_BW = jnp.where(others_BW | opened_BW, -_LATER, 0.0)
  else:
    children = jax.tree.map(lambda x: jnp.repeat(x, W, axis=0), position)
    columns_BW = jnp.broadcast_to(jnp.arange(W, dtype=jnp.int32)[None, :],
                                  (B, W))
    children = play(children, columns_BW.reshape(-1), game)
    best_BW = jnp.max(move_values(children, depth - 1, game),
                      axis=1).reshape(B, W)
    drawn_BW = children.over_B.reshape(B, W)
    values_BW = jnp.where(drawn_BW, 0.0, -_LATER * best_BW)
  values_BW = jnp.where(wins_BW, 1.0, values_BW)
  return jnp.where(legal_BW, values_BW, -jnp.inf)


def teacher_logprobs(position: Position, teacher: TeacherConfig,
                     game: ConnectFourConfig) -> jax.Array:
  """The teacher's probability of each move, its logarithm.

  p = (1 - r) · uniform over the best moves + r · uniform over all legal ones

  Args:
    position: B games.
    teacher: depth and r.
    game: the board.

  Returns:
    float32 [B, W]; -inf where it never moves.
  """
  values_BW = move_values(position, teacher.depth, game)
  best_BW = values_BW == jnp.max(values_BW, axis=1, keepdims=True)
  legal_BW = legal_columns(position, game)

  def uniform(chosen_BW):
    return chosen_BW / jnp.maximum(
        jnp.sum(chosen_BW, axis=1, keepdims=True), 1)
  share = teacher.random_share
  best_BW &= legal_BW  # on a full board all are alike
  return jnp.log((1 - share) * uniform(best_BW) + share * uniform(legal_BW))
