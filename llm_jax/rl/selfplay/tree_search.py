"""The model with a tree search, by `mctx`: policy as prior, value at leaves.

Gumbel MuZero's search (Danihelka et al. 2022, "Policy improvement by planning
with Gumbel") with the rules in place of a learned model of the game. A node is
a position and the tokens that led to it, which the model reads whole: that
costs more than a cache of keys and values would, and holds far less memory.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp

from llm_jax.config import (
    ConnectFourConfig, ModelConfig, TreeSearchConfig, require)
from llm_jax.model.transformer import forward
from llm_jax.rl.selfplay.connect_four import legal_columns, play
from llm_jax.rl.selfplay.game_text import column_logprobs, move_tokens, values
from llm_jax.rl.selfplay.players import Seen, certain


def require_mctx() -> None:
  """Raises `ConfigError` where `mctx` is not installed."""
  require(importlib.util.find_spec("mctx") is not None, "search.simulations is "
          "set, but mctx is not installed; run pip install -e '.[rl]', or set "
          "--search.simulations=0.")


@dataclasses.dataclass(frozen=True)
class TreePlayer:
  """A `Player` that searches; params are the model's.

  Attributes:
    model: the model.
    game: the board.
    search: simulations, considered.
  """
  model: ModelConfig
  game: ConnectFourConfig
  search: TreeSearchConfig

  def start(self, num_games: int) -> Any:
    """See `players.Player`."""
    del num_games
    return ()

  def moves(self, params: Any, memory: Any, seen: Seen, turn: jax.Array,
            key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """See `players.Player`."""
    B = seen.tokens_BT.shape[0]
    def look(_):
      return self._searched(params, seen, key)
    def wait(_):
      return jnp.zeros((B, self.game.columns)), jnp.zeros(B)
    logprobs_BW, values_B = jax.lax.cond(turn, look, wait, None)
    return logprobs_BW, values_B, memory

  def _predict(self, params, position, tokens_BT):
    """(log π over columns, value) of positions at plies of their own."""
    logits_BTV, _ = forward(params, tokens_BT[:, :-1], self.model)
    ply_B = jnp.minimum(position.ply_B, self.game.cells - 1)
    logits_BV = jnp.take_along_axis(logits_BTV, ply_B[:, None, None],
                                    axis=1)[:, 0]
    logprobs_BW = column_logprobs(logits_BV, move_tokens(position, self.game))
    return logprobs_BW, values(logits_BV)

  def _searched(self, params, seen, key):
    import mctx
    logprobs_BW, values_B = self._predict(params, seen.position,
                                          seen.tokens_BT)

    def step(params, key, columns_B, node):
      del key
      position, tokens_BT = node
      token_B1 = jnp.take_along_axis(move_tokens(position, self.game),
                                     columns_B[:, None], axis=1)
      place_BT = (jnp.arange(tokens_BT.shape[1])[None, :]
                  == position.ply_B[:, None] + 1)
      tokens_BT = jnp.where(place_BT, token_B1, tokens_BT)
      was_over_B, mover_B = position.over_B, position.mover_B
      position = play(position, columns_B, self.game)
      logprobs_BW, values_B = self._predict(params, position, tokens_BT)
      own_B = position.outcome_B * (1.0 - 2.0 * mover_B)
      return mctx.RecurrentFnOutput(
          reward=jnp.where(was_over_B, 0.0, own_B),
          # The value that follows is the opponent's; after the end there is
          # none.
          discount=jnp.where(position.over_B, 0.0, -1.0),
          prior_logits=_finite(logprobs_BW), value=values_B
      ), (position, tokens_BT)

    found = mctx.gumbel_muzero_policy(
        params, key, mctx.RootFnOutput(
            prior_logits=_finite(logprobs_BW), value=values_B,
            embedding=(seen.position, seen.tokens_BT)),
        step, num_simulations=self.search.simulations,
        invalid_actions=~legal_columns(seen.position, self.game),
        max_num_considered_actions=self.search.considered, gumbel_scale=0.0,
        # Rewards and values are in [-1, 1] already.
        qtransform=mctx.qtransform_completed_by_mix_value)
    columns_1W = jnp.arange(self.game.columns)[None, :]
    played_BW = columns_1W == found.action[:, None]
    return certain(jnp.where(played_BW, 0.0, -jnp.inf)), values_B


def _finite(logprobs_BW):
  """Log-probabilities without the infinities, of which mctx makes NaN."""
  return jnp.maximum(logprobs_BW, jnp.finfo(jnp.float32).min / 4)
