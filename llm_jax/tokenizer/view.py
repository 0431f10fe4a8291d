"""Tokens made visible: coloured in a notebook, a web page or a terminal.

    show_tokens("Hello, 12345 worlds", tokenizer)      # colours alternate
    show_conversation(messages, tokenizer)             # green: trained on

A loss mask is a row of zeros and ones that nobody proofreads; in colour, a
stop token that is not trained, or a prompt that is, catches the eye.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from llm_jax.config import require
from llm_jax.tokenizer.chat import Message, render_conversation
from llm_jax.tokenizer.protocol import Tokenizer, id_list

# Backgrounds that dark text can be read on: five in turn, so that neighbours
# differ; or, with a mask, one for what is trained and one for what is not.
_TURNS = ("#cfe3ff", "#ffe2b8", "#d5f0d0", "#f8d0dd", "#e3d7f7")
_TRAINED, _UNTRAINED = "#b6ecb6", "#e4e4e4"
_TURNS_256 = (153, 223, 194, 218, 183)  # the like in a terminal's 256 colours
_TRAINED_256, _UNTRAINED_256 = 157, 254


class TokenView:
  """Coloured tokens: HTML to a notebook, ANSI colours to `print`.

  Attributes:
    pieces: what is shown of each token.
    ids: the tokens, [T].
    loss_mask: whether each is trained, [T]; None colours them in turn.
  """

  def __init__(self, ids: Sequence[int] | np.ndarray, tokenizer: Tokenizer,
               loss_mask: Sequence[int] | np.ndarray | None = None):
    """Takes `ids` [T] and `loss_mask` [T]; ConfigError if lengths differ."""
    self.ids = id_list(ids)
    self.loss_mask = None if loss_mask is None else [
        bool(m) for m in np.asarray(loss_mask).tolist()]
    require(self.loss_mask is None or len(self.loss_mask) == len(self.ids),
            f"the loss mask does not have one entry for each of the "
            f"{len(self.ids)} tokens.")
    self.pieces = [visible(tokenizer.token_bytes(i)) for i in self.ids]

  def html(self) -> str:
    """A `<div>` with its own colours, for any page; text is escaped."""
    spans = []
    for i, (token, piece) in enumerate(zip(self.ids, self.pieces)):
      colour = self._choose(i, _TURNS, _TRAINED, _UNTRAINED)
      title = f"id {token}"
      if self.loss_mask is not None:
        title += ", trained" if self.loss_mask[i] else ", not trained"
      spans.append(
          f'<span style="background:{colour};border-radius:3px" '
          f'title="{title}">{html.escape(piece)}</span>')
    return ('<div style="color:#111;font-family:monospace;line-height:1.6;'
            'white-space:pre-wrap;overflow-wrap:anywhere">'
            + "<wbr>".join(spans) + "</div>")

  def ansi(self) -> str:
    """The same for a terminal of 256 colours."""
    parts = []
    for i, piece in enumerate(self.pieces):
      colour = self._choose(i, _TURNS_256, _TRAINED_256, _UNTRAINED_256)
      # The colour is put out before a line end, which would paint the row.
      parts.append("\n".join(
          f"\x1b[48;5;{colour};38;5;16m{line}\x1b[0m" if line else ""
          for line in piece.split("\n")))
    return "".join(parts)

  def _choose(self, i: int, turns: Sequence, trained: object,
              untrained: object) -> object:
    if self.loss_mask is None:
      return turns[i % len(turns)]
    return trained if self.loss_mask[i] else untrained

  def _repr_html_(self) -> str:
    return self.html()

  def __str__(self) -> str:
    return self.ansi()

  def __repr__(self) -> str:
    return f"TokenView({len(self.ids)} tokens)"


def show_tokens(text: str | Sequence[int] | np.ndarray, tokenizer: Tokenizer,
                loss_mask: Sequence[int] | np.ndarray | None = None
                ) -> TokenView:
  """How `text` (or ids [T]) is cut; with a `loss_mask` [T], what is trained."""
  ids = tokenizer.encode(text) if isinstance(text, str) else text
  return TokenView(ids, tokenizer, loss_mask)


def show_conversation(messages: Sequence[Message],
                      tokenizer: Tokenizer) -> TokenView:
  """A conversation as it is trained on: green are the targets of the loss."""
  ids, loss_mask = render_conversation(messages, tokenizer)
  return TokenView(ids, tokenizer, loss_mask)


def visible(token: bytes) -> str:
  """A token's bytes as characters that can be seen, and that do no harm.

  Line ends show as "⏎" and still break the line; bytes that are not whole
  characters, and control characters (which could steer a terminal), show as
  \\x1b and the like.
  """
  shown = []
  for char in token.decode("utf-8", errors="surrogateescape"):
    code = ord(char)
    if char == "\n":
      shown.append("⏎\n")
    elif 0xDC80 <= code <= 0xDCFF:  # a stray byte, as surrogateescape keeps it
      shown.append(f"\\x{code - 0xDC00:02x}")
    elif char == " " or char.isprintable():
      shown.append(char)
    elif code < 0x100:
      shown.append(f"\\x{code:02x}")
    else:
      shown.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
  return "".join(shown)
