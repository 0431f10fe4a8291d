"""Text of tokens up to the first stop string, however the tokens cut it."""

import random

import pytest
from exact_distribution import before_stop

from llm_jax.config import TokenizerConfig
from llm_jax.inference.conversation import stream_text
from llm_jax.inference.text_stream import TextStream
from llm_jax.tokenizer.bpe import train_bpe

TEXT = "né 数学数 😀! stop\nQ: ab abc abcd né数 😀😀"


class Pieces:
  """A tokenizer whose token i is the i-th of some pieces of bytes."""

  def __init__(self, pieces):
    self.pieces = pieces

  def token_bytes(self, token_id):
    return self.pieces[token_id]


def cut(data, seed):
  """`data` in pieces of up to six bytes, some of them empty."""
  rng, pieces = random.Random(seed), []
  while data:
    size = rng.randrange(7)
    pieces.append(data[:size])
    data = data[size:]
  return pieces


@pytest.mark.parametrize("stop", [
    (), ("\nQ:",), ("学数",), ("😀😀",), ("abcd", "bc"), ("bc", "abc"),
    ("aab",), ("x", "né数"), ("never",), ("n", "né"), (TEXT,), (" 😀", "数 ")])
def test_the_cut_does_not_matter(stop):
  expected, stopped = before_stop(TEXT, stop)
  for seed in range(40):
    pieces = cut(TEXT.encode(), seed)
    stream = TextStream(Pieces(pieces), stop)
    out = [stream.push(token) for token in range(len(pieces))]
    so_far = "".join(out)
    # Nothing was shown that a stop string took back, and all that was sure.
    assert expected.startswith(so_far)
    assert len(expected) - len(so_far) < max(map(len, stop), default=1)
    assert so_far + stream.finish() == expected == stream.text
    assert stream.stopped == stopped
    assert stream.push(0) == "" if stopped else True


def test_what_cannot_be_a_stop_string_any_more_is_shown_at_once():
  pieces = [b"a", b"b", b"a", b"b", b"x", b"\xc3", b"\xa9", b"c"]
  stream = TextStream(Pieces(pieces), ("abac", "éd"))
  shown = [stream.push(token) for token in range(len(pieces))]
  assert shown == ["", "", "", "ab", "abx", "", "", "éc"]
  assert stream.finish() == "" and not stream.stopped


def test_broken_characters_are_shown_at_the_end():
  stream = TextStream(Pieces([b"a", b"\xe6\x95"]), ("b",))
  assert [stream.push(0), stream.push(1)] == ["a", ""]
  assert stream.finish() == "\ufffd" and stream.text == "a\ufffd"


def test_the_tokens_after_a_stop_string_are_not_asked_for():
  tokenizer = train_bpe(["a"], TokenizerConfig(vocab_size=264))
  tokens = iter(tokenizer.encode("answer\nQ: next"))
  pieces = stream_text(tokens, tokenizer, stop=("\nQ", "none"))
  assert "".join(pieces) == "answer"
  assert tokenizer.decode(list(tokens)) == ": next"
  end = tokenizer.special_tokens["<|end|>"]
  ids = [*tokenizer.encode("yes\n"), end, *tokenizer.encode("Q")]
  assert "".join(stream_text(ids, tokenizer, (end,), ("\nQ",))) == "yes\n"
