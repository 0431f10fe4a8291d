"""A game as text: every move is a token, and so is what comes of the game.

    <|start|> Xd1 Od2 Xe1 ...

"Xd1" is the first player's stone on column d, row 1. Since a move names its
player and where the stone comes to lie, a game's tokens are its stones, and a
model need not count to know the board. The result is predicted with the
same softmax's other tokens: at each position the model is asked for the move,
out of the legal ones, and for the result, out of <|win|>, <|draw|> and <|loss|>
of the player to move. So policy and value are one language model's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from llm_jax.config import ConfigError, ConnectFourConfig, require
from llm_jax.rl.selfplay.connect_four import (
    Position, landing_cells, legal_columns)
from llm_jax.tokenizer.huggingface import HuggingFaceTokenizer
from llm_jax.tokenizer.protocol import Tokenizer

START, WIN, DRAW, LOSS = range(4)
SPECIAL = ("<|start|>", "<|win|>", "<|draw|>", "<|loss|>")
_FIRST_MOVE = len(SPECIAL)
_PLAYERS = "XO"


def vocabulary(game: ConnectFourConfig) -> list[str]:
  """The names of all tokens, in the order of their ids."""
  require(game.columns <= 26, f"game.columns={game.columns}; columns are named "
          "by the letters a to z.")
  return [*SPECIAL, *(
      f"{player}{chr(ord('a') + cell % game.columns)}{cell // game.columns + 1}"
      for player in _PLAYERS for cell in range(game.cells))]


def game_tokenizer(game: ConnectFourConfig) -> Tokenizer:
  """`vocabulary` as a tokenizer of words between spaces, which saves as a
  tokenizer.json like any other."""
  words = vocabulary(game)
  return HuggingFaceTokenizer(json.dumps({
      "version": "1.0", "truncation": None, "padding": None,
      "added_tokens": [
          {"id": i, "content": name, "single_word": False, "lstrip": False,
           "rstrip": False, "normalized": False, "special": True}
          for i, name in enumerate(SPECIAL)],
      "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
      "post_processor": None, "decoder": None,
      "model": {"type": "WordLevel", "unk_token": SPECIAL[START],
                "vocab": {word: i for i, word in enumerate(words)}}}))


def move_tokens(position: Position, game: ConnectFourConfig) -> jax.Array:
  """int32 [B, W]; the token of a move in each column, `START` where it is
  full."""
  tokens_BW = (_FIRST_MOVE + position.mover_B[:, None] * game.cells
               + landing_cells(position, game))
  return jnp.where(legal_columns(position, game), tokens_BW, START)


def to_text(tokens: Iterable[int], game: ConnectFourConfig) -> str:
  """Tokens as words between spaces."""
  words = vocabulary(game)
  return " ".join(words[token] for token in tokens)


def to_columns(text: str, game: ConnectFourConfig) -> list[int]:
  """The columns of a game's text, replayed by the rules.

  Args:
    text: moves between spaces, with or without `<|start|>`.
    game: the board.

  Raises:
    ConfigError: a word that is no move, out of turn, in the air or on another
      stone.
  """
  heights, columns = [0] * game.columns, []
  for word in text.split():
    if word == SPECIAL[START] and not columns:
      continue
    player = _PLAYERS[len(columns) % 2]
    legal = {f"{player}{chr(ord('a') + c)}{heights[c] + 1}": c
             for c in range(game.columns) if heights[c] < game.rows}
    if word not in legal:
      raise ConfigError(f"{word!r} cannot be move {len(columns) + 1} of "
                        f"{text!r}; choose one of {', '.join(legal)}.")
    columns.append(legal[word])
    heights[legal[word]] += 1
  return columns


def board_text(columns: Sequence[int], game: ConnectFourConfig) -> str:
  """The board after moves in `columns`, drawn with X, O and dots."""
  stacks: list[list[str]] = [[] for _ in range(game.columns)]
  for ply, column in enumerate(columns):
    stacks[column].append(_PLAYERS[ply % 2])
  rows = [" ".join(stack[row] if row < len(stack) else "."
                   for stack in stacks) for row in reversed(range(game.rows))]
  letters = " ".join(chr(ord("a") + c) for c in range(game.columns))
  return "\n".join([*rows, letters])


def column_logprobs(logits_bV: jax.Array, choices_bW: jax.Array) -> jax.Array:
  """log π over columns: softmax over the tokens of legal moves alone.

  Both sampling and the losses take their probabilities from here, so that the
  ratio of the two is 1 where the parameters are the same.

  Args:
    logits_bV: float32 [..., V], the model's.
    choices_bW: int32 [..., W], of `move_tokens`.

  Returns:
    float32 [..., W]; -inf for full columns. Where all are full (the game is
    over then) it is uniform, not NaN.
  """
  logits_bW = jnp.take_along_axis(logits_bV, choices_bW, axis=-1)
  legal_bW = choices_bW != START
  some_b1 = jnp.any(legal_bW, axis=-1, keepdims=True)
  masked_bW = jnp.where(legal_bW, logits_bW, -jnp.inf)
  # Before the softmax: the gradient of -inf - -inf is NaN, even where unused.
  return jax.nn.log_softmax(jnp.where(some_b1, masked_bW, 0.0), axis=-1)


def result_logprobs(logits_bV: jax.Array) -> jax.Array:
  """log p(win), log p(draw), log p(loss) for the player to move, [..., 3]."""
  return jax.nn.log_softmax(logits_bV[..., WIN:LOSS + 1], axis=-1)


def values(logits_bV: jax.Array) -> jax.Array:
  """p(win) - p(loss) for the player to move, in [-1, 1], [...]."""
  p_b3 = jnp.exp(result_logprobs(logits_bV))
  return p_b3[..., 0] - p_b3[..., 2]
