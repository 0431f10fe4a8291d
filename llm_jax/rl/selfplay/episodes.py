"""Games played by any two players, all of a batch at once, and their record.

All games of a batch begin together and are at the same ply; those that are over
wait for the others. A ply is one step of a scan: both players read the newest
token, the one whose turn it is moves.
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from llm_jax.config import ConnectFourConfig
from llm_jax.model.transformer import unstack_layers
from llm_jax.rl.selfplay.connect_four import new_games, play
from llm_jax.rl.selfplay.game_text import START, move_tokens
from llm_jax.rl.selfplay.players import Player, Seen


@flax.struct.dataclass
class Record:
  """B games as they are trained on; T is the longest a game can be.

  Attributes:
    tokens_BT: int32; `START` and all moves but the last, of which position t
      is what has been seen when move t is made.
    choices_BTW: int32; `move_tokens` there.
    columns_BT: int32; the move that was made.
    played_BT: bool; the game was not over.
    chosen_BT: bool; played, and chosen by a player rather than by the opening.
    logprobs_BTW: float32; what the player had said of all columns.
    values_BT: float32; what it had said of the position.
    outcome_B: float32; 1: the first player has won, -1: the second, 0: drawn.
  """
  tokens_BT: jax.Array
  choices_BTW: jax.Array
  columns_BT: jax.Array
  played_BT: jax.Array
  chosen_BT: jax.Array
  logprobs_BTW: jax.Array
  values_BT: jax.Array
  outcome_B: jax.Array

  @property
  def results_BT(self) -> jax.Array:
    """float32; 1, 0 or -1: how the game ended for the player of each ply."""
    plies_1T = jnp.arange(self.tokens_BT.shape[1])[None, :]
    return self.outcome_B[:, None] * (1.0 - 2.0 * (plies_1T % 2))

  @property
  def column_logprobs_BT(self) -> jax.Array:
    """float32; of the moves that were made."""
    return jnp.take_along_axis(self.logprobs_BTW, self.columns_BT[..., None],
                               axis=2)[..., 0]


def random_openings(key: jax.Array, num_games: int, max_plies: int,
                    game: ConnectFourConfig) -> jax.Array:
  """int32 [B, max_plies]; columns drawn at random, uniformly.

  `ConnectFourConfig.validate` sees to it that all are legal.
  """
  return jax.random.randint(key, (num_games, max_plies), 0, game.columns,
                            jnp.int32)


def play_games(players: tuple[Player, ...], params: tuple[Any, ...],
               openings_BO: jax.Array, opening_lengths_B: jax.Array,
               key: jax.Array, game: ConnectFourConfig) -> Record:
  """Plays B games to their ends; traceable.

  Args:
    players: (first, second), or one who plays both sides.
    params: of each player.
    openings_BO: int32; columns of the first moves.
    opening_lengths_B: int32; how many of them are played.
    key: of all draws.
    game: the board.

  Returns:
    The games, with what each player had said when it moved.
  """
  B, O = openings_BO.shape  # noqa: E741 - a shape
  T = game.cells
  openings_BT = jnp.pad(openings_BO, ((0, 0), (0, T - O)))
  params = tuple(unstack_layers(p) if isinstance(p, dict) else p
                 for p in params)

  def one_ply(carry, ply):
    position, tokens_BT, memories = carry
    seen = Seen(position, tokens_BT, ply)
    said, kept = [], []
    for number, player in enumerate(players):
      turn = jnp.asarray(len(players) == 1) | (ply % 2 == number)
      logprobs_BW, values_B, memory = player.moves(
          params[number], memories[number], seen, turn,
          jax.random.fold_in(key, 2 * T + 2 * ply + number))
      said.append((logprobs_BW, values_B))
      kept.append(memory)
    logprobs_BW, values_B = said[0]
    if len(players) == 2:
      second = ply % 2 == 1
      logprobs_BW, values_B = (jnp.where(second, b, a)
                               for a, b in zip(*said, strict=True))
    drawn_B = jax.random.categorical(jax.random.fold_in(key, ply), logprobs_BW,
                                     axis=1).astype(jnp.int32)
    chosen_B = ply >= opening_lengths_B
    columns_B = jnp.where(
        chosen_B, drawn_B,
        jax.lax.dynamic_index_in_dim(openings_BT, ply, 1, keepdims=False))
    choices_BW = move_tokens(position, game)
    token_B = jnp.take_along_axis(choices_BW, columns_B[:, None], axis=1)[:, 0]
    # The last move is read by nobody, and falls off the end.
    tokens_BT = jax.lax.dynamic_update_index_in_dim(
        tokens_BT, token_B, ply + 1, axis=1)
    going_B = ~position.over_B
    return (play(position, columns_B, game), tokens_BT, tuple(kept)), (
        choices_BW, columns_B, going_B, going_B & chosen_B, logprobs_BW,
        values_B)

  start = (new_games(B, game), jnp.full((B, T + 1), START, jnp.int32),
           tuple(player.start(B) for player in players))
  (position, tokens_BT, _), plies = jax.lax.scan(one_ply, start,
                                                 jnp.arange(T))
  return Record(tokens_BT[:, :-1], *(x.swapaxes(0, 1) for x in plies),
                outcome_B=position.outcome_B)


def training_games(players: tuple[Player, ...], params: tuple[Any, ...],
                   num_games: int, key: jax.Array,
                   game: ConnectFourConfig) -> Record:
  """`play_games` from random openings of 0 to `game.opening_plies` moves."""
  moves, lengths, games = (jax.random.fold_in(key, i) for i in range(3))
  return play_games(
      players, params,
      random_openings(moves, num_games, game.opening_plies, game),
      jax.random.randint(lengths, (num_games,), 0, game.opening_plies + 1,
                         jnp.int32), games, game)
