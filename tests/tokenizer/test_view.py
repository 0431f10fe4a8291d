"""Coloured tokens: all of them there, none of them harmful."""

import html
import re

import pytest

from llm_jax.config import ConfigError
from llm_jax.tokenizer.view import (
    compare_tokenizers, show_conversation, show_tokens, visible)

MESSAGES = [{"role": "user", "content": "<b>2 & 3</b>"},
            {"role": "assistant", "content": "five\nok"}]


def spans(view):
  """[(colour, title, text)] of the HTML."""
  found = re.findall(
      r'<span style="background:(#\w+)[^"]*" title="([^"]*)">(.*?)</span>',
      view.html(), flags=re.DOTALL)
  return [(colour, title, html.unescape(text)) for colour, title, text in found]


def test_html_shows_every_token(bpe):
  text = "def <f>(x):\n  return 'e' & \"1\""
  view = show_tokens(text, bpe)
  shown = spans(view)
  ids = bpe.encode(text)
  assert [title for _, title, _ in shown] == [
      f"id {i}, bytes {bpe.token_bytes(i).hex(' ')}" for i in ids]
  assert "".join(s for _, _, s in shown).replace("⏎", "") == text
  colours = [colour for colour, _, _ in shown]
  assert all(a != b for a, b in zip(colours, colours[1:]))
  assert "<f>" not in view.html() and "<script" not in view.html()
  assert view._repr_html_() == view.html()


def test_loss_mask_is_two_colours(bpe):
  view = show_conversation(MESSAGES, bpe)
  shown = spans(view)
  trained = {c for c, title, _ in shown if title.endswith(", trained")}
  untrained = {c for c, title, _ in shown if title.endswith("not trained")}
  assert len(trained) == len(untrained) == 1 and trained != untrained
  text = "".join(s for c, _, s in shown if c in trained)
  assert text == "five⏎\nok<|end|>"


def test_terminal_colours_say_the_same(bpe):
  view = show_conversation(MESSAGES, bpe)
  parts = re.findall(r"\x1b\[48;5;(\d+);38;5;16m(.*?)\x1b\[0m", str(view))
  green = parts[-1][0]
  assert "".join(t for c, t in parts if c == green) == "five⏎ok<|end|>"
  assert "".join(t for _, t in parts).startswith("<|endoftext|><|user|><b>2")
  plain = re.sub(r"\x1b\[[0-9;]*m", "", str(show_tokens("a\n b", bpe)))
  assert plain == "a⏎\n b"


@pytest.mark.parametrize("token, shown", [
    (b"\x1b[2J", "\\x1b[2J"), (b"a b", "a b"), (b"\n\n", "⏎\n⏎\n"),
    (b"\xe2\x82", "\\xe2\\x82"), ("€".encode(), "€"), (b"\t\r", "\\x09\\x0d"),
    ("\u200b\u202e".encode(), "\\u200b\\u202e"), (b"\xf0", "\\xf0"),
    ("\U000e0001".encode(), "\\U000e0001"), (b"\x9b", "\\x9b"),
])
def test_what_cannot_be_seen_is_spelt(token, shown):
  assert visible(token) == shown


def test_ids_and_masks(bpe):
  ids = bpe.encode("hello there")
  view = show_tokens(ids, bpe, [0] * (len(ids) - 1) + [1])
  assert sum(", trained" in title for _, title, _ in spans(view)) == 1
  with pytest.raises(ConfigError, match="one entry for each"):
    show_tokens(ids, bpe, [1])
  assert show_tokens("", bpe).html().count("<span") == 0


def test_vocabularies_under_one_another(bpe):
  bytes_only = type(bpe)({bytes([i]): i for i in range(256)}, {}, bpe.pattern)
  text = "naïve <b> return\n"
  comparison = compare_tokenizers(text, {"<ours>": bpe, "bytes": bytes_only})
  assert comparison.num_bytes == 18
  assert comparison.summary("bytes") == "18 tokens, 1.00 bytes per token"
  page = comparison._repr_html_()
  assert page.count("<section>") == 2 and "&lt;ours&gt;: " in page
  assert "<b>" not in page
  assert page.count("<span") == 18 + len(bpe.encode(text))
  shown = re.sub(r"\x1b\[[0-9;]*m", "", comparison.ansi(listed=2))
  assert "bytes: 18 tokens" in shown and "and 16 more" in shown
  assert "     1  id 97      a  61" in shown
  assert str(comparison) == comparison.ansi()
