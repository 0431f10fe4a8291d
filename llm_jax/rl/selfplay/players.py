"""Players: what has been played so far -> log-probabilities of columns.

A player is a hashable object without state. What it carries from move to move
is its memory, a pytree (a model's cache of keys and values), and its parameters
are handed in, so that a game between any two is one jitted program.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp

from llm_jax.config import ConnectFourConfig, ModelConfig, TeacherConfig
from llm_jax.model.decode import decode_step, init_cache
from llm_jax.rl.selfplay.connect_four import Position
from llm_jax.rl.selfplay.game_text import column_logprobs, move_tokens, values
from llm_jax.rl.selfplay.teacher import teacher_logprobs


@flax.struct.dataclass
class Seen:
  """What players see: B games at the same ply.

  Attributes:
    position: the boards.
    tokens_BT: int32; `START` and the moves so far, then anything.
    ply: int32 scalar t; `tokens_BT[:, t]` is the newest token.
  """
  position: Position
  tokens_BT: jax.Array
  ply: jax.Array


class Player(Protocol):
  """See the module; `moves` is called at every ply, the opponent's too."""

  def start(self, num_games: int) -> Any:
    """The memory at the beginning of `num_games` games."""
    ...

  def moves(self, params: Any, memory: Any, seen: Seen, turn: jax.Array,
            key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """Reads the newest token and says how it would move.

    Args:
      params: the player's, or None.
      memory: of the ply before.
      seen: the games.
      turn: bool scalar; whether it is to move. Else the result is not read.
      key: of this ply.

    Returns:
      (log-probabilities float32 [B, W], -inf for full columns; values float32
      [B] of the positions for the player to move, 0 where it has none;
      memory).
    """
    ...


@dataclasses.dataclass(frozen=True)
class SearchPlayer:
  """`teacher_logprobs` as a player."""
  teacher: TeacherConfig
  game: ConnectFourConfig

  def start(self, num_games: int) -> Any:
    """See `Player`."""
    del num_games
    return ()

  def moves(self, params: Any, memory: Any, seen: Seen, turn: jax.Array,
            key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """See `Player`."""
    del params, key
    B = seen.tokens_BT.shape[0]
    logprobs_BW = jax.lax.cond(
        turn,
        lambda position: teacher_logprobs(position, self.teacher, self.game),
        lambda _: jnp.zeros((B, self.game.columns)), seen.position)
    return logprobs_BW, jnp.zeros(B), memory


@dataclasses.dataclass(frozen=True)
class ModelPlayer:
  """The language model, a token at a time; params are the model's.

  Attributes:
    model: the model.
    game: the board.
    greedy: it plays its likeliest move; else it draws from its distribution.
  """
  model: ModelConfig
  game: ConnectFourConfig
  greedy: bool = False

  def start(self, num_games: int) -> Any:
    """See `Player`."""
    return init_cache(num_games, self.game.cells, self.model)

  def moves(self, params: Any, memory: Any, seen: Seen, turn: jax.Array,
            key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """See `Player`."""
    del turn, key
    tokens_B = jax.lax.dynamic_index_in_dim(seen.tokens_BT, seen.ply, axis=1,
                                            keepdims=False)
    logits_BV, memory = decode_step(
        params, tokens_B, jnp.full_like(tokens_B, seen.ply), memory, self.model)
    logprobs_BW = column_logprobs(logits_BV,
                                  move_tokens(seen.position, self.game))
    if self.greedy:
      logprobs_BW = certain(logprobs_BW)
    return logprobs_BW, values(logits_BV), memory


def certain(logprobs_BW: jax.Array) -> jax.Array:
  """All probability on the likeliest move, the first of equal ones."""
  best_B1 = jnp.argmax(logprobs_BW, axis=1)[:, None]
  columns_1W = jnp.arange(logprobs_BW.shape[1])[None, :]
  return jnp.where(columns_1W == best_B1, 0.0, -jnp.inf)
