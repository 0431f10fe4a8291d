"""The rules of Connect Four, for a whole batch of games at once.

Cells are numbered from the bottom left, a row after the other. A line is a set
of cells, so that all of what the rules ask of a board - has somebody won, where
would he win - are products of stones and lines: one matrix product for all
games.
"""

from __future__ import annotations

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ConnectFourConfig


@flax.struct.dataclass
class Position:
  """B games under way.

  Attributes:
    stones_B2C: bool; of the first player and of the second, on each cell.
    heights_BW: int32; stones in each column.
    ply_B: int32; moves made.
    over_B: bool; whether the game has ended.
    outcome_B: float32; 1: the first player has won, -1: the second, else 0.
  """
  stones_B2C: jax.Array
  heights_BW: jax.Array
  ply_B: jax.Array
  over_B: jax.Array
  outcome_B: jax.Array

  @property
  def mover_B(self) -> jax.Array:
    """int32; 0 where the first player is to move, 1 where the second is."""
    return self.ply_B % 2


@functools.cache
def lines(game: ConnectFourConfig) -> np.ndarray:
  """float32 [lines, C]; 1 on the cells of each line that wins."""
  found = []
  for row in range(game.rows):
    for column in range(game.columns):
      for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        cells = [(row + i * down, column + i * right)
                 for i in range(game.connect)]
        if all(0 <= r < game.rows and 0 <= c < game.columns for r, c in cells):
          line = np.zeros(game.cells, np.float32)
          line[[r * game.columns + c for r, c in cells]] = 1.0
          found.append(line)
  return np.stack(found)


def new_games(num_games: int, game: ConnectFourConfig) -> Position:
  """`num_games` empty boards."""
  return Position(
      stones_B2C=jnp.zeros((num_games, 2, game.cells), bool),
      heights_BW=jnp.zeros((num_games, game.columns), jnp.int32),
      ply_B=jnp.zeros(num_games, jnp.int32), over_B=jnp.zeros(num_games, bool),
      outcome_B=jnp.zeros(num_games, jnp.float32))


def legal_columns(position: Position, game: ConnectFourConfig) -> jax.Array:
  """bool [B, W]; columns with room, also where the game is over."""
  return position.heights_BW < game.rows


def landing_cells(position: Position, game: ConnectFourConfig) -> jax.Array:
  """int32 [B, W]; where a stone of each column would come to lie.

  Of a full column it is its highest cell.
  """
  columns_1W = jnp.arange(game.columns, dtype=jnp.int32)[None, :]
  heights_BW = jnp.minimum(position.heights_BW, game.rows - 1)
  return heights_BW * game.columns + columns_1W


def play(position: Position, columns_B: jax.Array,
         game: ConnectFourConfig) -> Position:
  """The positions after a move each; games that are over stay as they are.

  Args:
    position: B games.
    columns_B: int32; a legal column each.
    game: the board.
  """
  cells_B = jnp.take_along_axis(landing_cells(position, game),
                                columns_B[:, None], axis=1)[:, 0]
  here_BC = cells_B[:, None] == jnp.arange(game.cells)[None, :]
  mine_B2 = position.mover_B[:, None] == jnp.arange(2)[None, :]
  placed_B2C = mine_B2[:, :, None] & here_BC[:, None, :]
  going_B = ~position.over_B
  stones_B2C = position.stones_B2C | (placed_B2C & going_B[:, None, None])
  in_column_BW = columns_B[:, None] == jnp.arange(game.columns)[None, :]
  heights_BW = position.heights_BW + (in_column_BW & going_B[:, None])
  on_lines_B2L = stones_B2C.astype(jnp.float32) @ lines(game).T
  won_B2 = jnp.any(on_lines_B2L == game.connect, axis=-1)
  outcome_B = jnp.where(won_B2[:, 0], 1.0, jnp.where(won_B2[:, 1], -1.0, 0.0))
  ply_B = position.ply_B + going_B
  return Position(stones_B2C, heights_BW, ply_B,
                  jnp.any(won_B2, axis=-1) | (ply_B == game.cells), outcome_B)


def winning_cells(position: Position, game: ConnectFourConfig
                  ) -> tuple[jax.Array, jax.Array]:
  """Empty cells that would complete a line, within reach or not.

  Returns:
    (bool [B, C] of the player to move, the same of the other).
  """
  on_lines_B2L = position.stones_B2C.astype(jnp.float32) @ lines(game).T
  nearly_B2L = ((on_lines_B2L == game.connect - 1)
                & (on_lines_B2L[:, ::-1] == 0)).astype(jnp.float32)
  wins_B2C = ((nearly_B2L @ lines(game) > 0)
              & ~jnp.any(position.stones_B2C, axis=1, keepdims=True))
  second_B1 = position.mover_B[:, None] == 1
  return (jnp.where(second_B1, wins_B2C[:, 1], wins_B2C[:, 0]),
          jnp.where(second_B1, wins_B2C[:, 0], wins_B2C[:, 1]))
