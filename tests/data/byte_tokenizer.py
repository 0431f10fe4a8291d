"""A vocabulary of the 256 bytes and the chat template's special tokens."""

import json
import os

import numpy as np

from llm_jax.tokenizer.protocol import Tokenizer

SPECIAL = ("<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>",
           "<|assistant|>", "<|end|>")


class ByteTokenizer(Tokenizer):
  """Ids are bytes; specials follow; `shift` makes a different vocabulary."""

  def __init__(self, shift=0, extra=0):
    self.shift = shift
    self.special_tokens = {name: 256 + i for i, name in enumerate(SPECIAL)}
    self.vocab_size = 256 + len(SPECIAL) + extra

  def encode_text(self, text):
    return [(byte + self.shift) % 256 for byte in text.encode()]

  def token_bytes(self, token_id):
    if token_id >= 256 + len(SPECIAL):
      raise ValueError(f"id {token_id} is not used")
    if token_id >= 256:
      return SPECIAL[token_id - 256].encode()
    return bytes([(token_id - self.shift) % 256])

  def save(self, directory):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "byte.json"), "w") as stream:
      json.dump({"shift": self.shift}, stream)


def expected_ids(text):
  """<|endoftext|> and the bytes of a text."""
  return np.asarray([256, *text.encode()], np.int64)
