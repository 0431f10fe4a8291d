"""Tokens made visible: coloured in a notebook, a web page or a terminal.

    show_tokens("Hello, 12345 worlds", tokenizer)      # colours alternate
    show_conversation(messages, tokenizer)             # green: trained on
    compare_tokenizers(text, {"ours": ours, "gpt2": gpt2})  # side by side

A loss mask is a row of zeros and ones that nobody proofreads; in colour, a
stop token that is not trained, or a prompt that is, catches the eye.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np

from llm_jax.config import require
from llm_jax.tokenizer.chat import Tools, render_conversation
from llm_jax.tokenizer.messages import Message
from llm_jax.tokenizer.protocol import (
    Tokenizer, id_list, without_surrogates)

# Backgrounds that dark text can be read on: five in turn, so that neighbours
# differ; or, with a mask, one for what is trained and one for what is not.
_TURNS = ("#cfe3ff", "#ffe2b8", "#d5f0d0", "#f8d0dd", "#e3d7f7")
TRAINED, UNTRAINED = "#b6ecb6", "#e4e4e4"
_TURNS_256 = (153, 223, 194, 218, 183)  # the like in a terminal's 256 colours
_TRAINED_256, _UNTRAINED_256 = 157, 254
_SHOWN_BYTES = 16


class TokenView:
  """Coloured tokens: HTML to a notebook, ANSI colours to `print`.

  Attributes:
    pieces: what is shown of each token.
    spellings: the bytes of each token.
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
    self.spellings = [tokenizer.token_bytes(i) for i in self.ids]
    self.pieces = [visible(spelling) for spelling in self.spellings]

  def html(self) -> str:
    """A `<div>` with its own colours, for any page; text is escaped."""
    spans = []
    for i, (token, piece) in enumerate(zip(self.ids, self.pieces)):
      colour = self._choose(i, _TURNS, TRAINED, UNTRAINED)
      title = f"id {token}, bytes {self.spellings[i].hex(' ')}"
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

  def summary(self) -> str:
    """How many tokens there are, and how many of them are trained."""
    count = len(self.ids)
    if self.loss_mask is None:
      return f"{count:,} tokens"
    trained = sum(self.loss_mask)
    return (f"{count:,} tokens, {trained:,} trained "
            f"({trained / max(count, 1):.1%})")

  def listing(self, limit: int = 0) -> str:
    """A line for each of the first `limit` tokens (0: all): its number, id and
    bytes, and the token in its colour."""
    count = min(limit or len(self.ids), len(self.ids))
    lines = []
    for i in range(count):
      colour = self._choose(i, _TURNS_256, _TRAINED_256, _UNTRAINED_256)
      piece = self.pieces[i].replace("\n", "")
      spelled = self.spellings[i][:_SHOWN_BYTES].hex(" ")
      if len(self.spellings[i]) > _SHOWN_BYTES:
        spelled += " ..."
      lines.append(f"{i:6d}  id {self.ids[i]:<7d} "
                   f"\x1b[48;5;{colour};38;5;16m{piece}\x1b[0m  {spelled}")
    if count < len(self.ids):
      lines.append(f"        and {len(self.ids) - count:,} more")
    return "\n".join(lines)

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


def show_conversation(messages: Sequence[Message], tokenizer: Tokenizer,
                      tools: Tools = ()) -> TokenView:
  """A conversation as it is trained on: green are the targets of the loss."""
  ids, loss_mask = render_conversation(messages, tokenizer, tools)
  return TokenView(ids, tokenizer, loss_mask)


class Comparison:
  """One text as several vocabularies cut it, under one another.

  Attributes:
    views: name -> its tokens.
    num_bytes: of the text, in UTF-8.
  """

  def __init__(self, text: str, tokenizers: Mapping[str, Tokenizer]):
    """Encodes `text` with each of `tokenizers`."""
    self.num_bytes = len(without_surrogates(text).encode())
    self.views = {name: show_tokens(text, tokenizer)
                  for name, tokenizer in tokenizers.items()}

  def summary(self, name: str) -> str:
    """How many tokens one of them makes, and what that is in bytes."""
    count = len(self.views[name].ids)
    return (f"{count:,} tokens, {self.num_bytes / max(count, 1):.2f} bytes per "
            "token")

  def html(self) -> str:
    """`<section>`s for any page, one for each vocabulary."""
    return "".join(
        f"<section><h3>{html.escape(name)}: {self.summary(name)}</h3>"
        f"{view.html()}</section>" for name, view in self.views.items())

  def ansi(self, listed: int = 0) -> str:
    """The same for a terminal; of each, the first `listed` tokens one by one.
    """
    parts = []
    for name, view in self.views.items():
      parts.append(f"{name}: {self.summary(name)}\n{view.ansi()}"
                   + (f"\n{view.listing(listed)}" if listed else ""))
    return "\n\n".join(parts)

  def _repr_html_(self) -> str:
    return self.html()

  def __str__(self) -> str:
    return self.ansi()

  def __repr__(self) -> str:
    return f"Comparison({', '.join(self.views)})"


def compare_tokenizers(text: str, tokenizers: Mapping[str, Tokenizer]
                       ) -> Comparison:
  """How each vocabulary cuts `text`: name -> tokenizer, in that order."""
  return Comparison(text, tokenizers)


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
