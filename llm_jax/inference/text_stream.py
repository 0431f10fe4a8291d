"""Tokens in, text out, up to the first stop string.

A stop string ends a text as soon as the text contains it, at whichever
character that is: not when a token ends, since one token may hold the end of
the stop string and more, and one stop string may be spread over many tokens.
So the text is looked at one way whatever the tokens are.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from llm_jax.tokenizer.protocol import Tokenizer


class TextStream:
  """The text of a row of tokens, as far as it is certain.

  Two things are held back: the bytes of a character whose rest is in the next
  token, and a piece at the end that a stop string may begin with.

  Attributes:
    text: all that was handed out.
    stopped: whether a stop string was met; then nothing follows.
  """

  def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()):
    """An empty text.

    Args:
      tokenizer: of the tokens.
      stop: texts that end it and are not part of it, none of them empty.
    """
    self.text = ""
    self.stopped = False
    self._tokenizer = tokenizer
    self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    self._stop = tuple(stop)
    self._held = ""

  def push(self, token: int) -> str:
    """Takes a token; returns the text that is certain now, maybe none."""
    return self._take(self._decoder.decode(self._tokenizer.token_bytes(token)))

  def finish(self) -> str:
    """Says that no token follows; returns what was held back."""
    text = self._take(self._decoder.decode(b"", final=True))
    rest, self._held = self._held, ""
    self.text += rest
    return text + rest

  def _take(self, new: str) -> str:
    if self.stopped:
      return ""
    text = self._held + new
    # The match that ends first; of those that end together the longest.
    matches = [(start + len(stop), start) for stop in self._stop
               if (start := text.find(stop)) >= 0]
    if matches:
      self.stopped, self._held = True, ""
      certain = text[:min(matches)[1]]
    else:
      kept = self._possible_start(text)
      certain, self._held = text[:len(text) - kept], text[len(text) - kept:]
    self.text += certain
    return certain

  def _possible_start(self, text: str) -> int:
    """Characters at the end of `text` that a stop string may begin with."""
    longest = max(map(len, self._stop), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
      if any(stop.startswith(text[-length:]) for stop in self._stop):
        return length
    return 0
