"""Regular expressions and JSON schemas as sets of tokens that may come next.

The grammars are llguidance's (github.com/guidance-ai/llguidance), which knows
for every prefix of a text which tokens of a vocabulary may follow; this file
tells it of our tokenizers, and tells users of their mistakes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llm_jax.config import ConfigError, require
from llm_jax.tokenizer.protocol import Tokenizer

# As `json.dumps` writes: a schema says nothing of space between its parts, and
# a model that may write any amount of it might not end.
_JSON_STYLE = {"whitespace_flexible": False, "item_separator": ", ",
               "key_separator": ": "}


@dataclasses.dataclass(frozen=True)
class Constraint:
  """What a completion has to be; made by `regex` or `json_schema`."""
  kind: str  # "regex" | "json_schema"
  text: str


def regex(pattern: str) -> Constraint:
  """The whole completion matches a regular expression.

  Args:
    pattern: in the syntax of Rust's regex crate, which is Python's without
      look-around and back references; `.` is any character but a newline,
      `\\d` a digit of any script (write [0-9] for ours).
  """
  return Constraint("regex", pattern)


def json_schema(schema: Mapping[str, Any] | bool | str) -> Constraint:
  """The completion is JSON, spaced as `json.dumps` does, valid for a schema.

  Args:
    schema: the schema (json-schema.org), or its JSON.

  Raises:
    ConfigError: text that is not JSON, or a schema that is no object.
  """
  if isinstance(schema, str):
    try:
      schema = json.loads(schema)
    except json.JSONDecodeError as error:
      raise ConfigError(f"the JSON schema is not JSON: {error}.") from None
  require(isinstance(schema, (Mapping, bool)), "the JSON schema is a "
          f"{type(schema).__name__}; give an object, such as "
          "{'type': 'object'}.")
  require(schema is not False, "the JSON schema is false, which no text "
          "satisfies; give an object.")
  try:
    return Constraint("json_schema",
                      json.dumps({} if schema is True else dict(schema)))
  except TypeError as error:
    raise ConfigError(f"the JSON schema is not JSON: {error}.") from None


class Grammars:
  """Makes matchers of constraints over one vocabulary."""

  def __init__(self, tokenizer: Tokenizer, vocab_size: int,
               stop_ids: Sequence[int]):
    """Tells llguidance of every token, once.

    Args:
      tokenizer: the model's.
      vocab_size: tokens of the model, which may be more than the tokenizer's.
      stop_ids: tokens that end a completion, at least one.

    Raises:
      ConfigError: llguidance is not installed, or there is no stop token.
    """
    self._library = _llguidance()
    require(len(stop_ids) > 0, "constrained generation needs a stop token, by "
            "which a completion ends; give stop_ids.")
    self.vocab_size = vocab_size
    self._stop_ids = tuple(stop_ids)
    self._tokenizer = self._library.LLTokenizer(
        self._library.TokenizerWrapper(
            _Vocabulary(tokenizer, vocab_size, self._stop_ids)),
        eos_token=list(self._stop_ids))
    self._executor = self._library.LLExecutor()
    self._compiled: dict[Constraint, Any] = {}

  def matcher(self, constraint: Constraint | None) -> Matcher | None:
    """A matcher at the beginning of a text; None for no constraint.

    Raises:
      ConfigError: an expression or a schema that is malformed, that needs what
        llguidance has not got, or that no text can match.
    """
    if constraint is None:
      return None
    if constraint not in self._compiled:
      self._compiled[constraint] = self._compile(constraint)
    return Matcher(self._compiled[constraint].deep_copy(), constraint)

  def allowed_bits(self, matchers: Sequence[Matcher | None]) -> np.ndarray:
    """Tokens that may come next in each row, int32 [B, ceil(V / 32)].

    Bit v % 32 of word v // 32 is token v. All are set in rows without matcher.
    """
    bits = np.full((len(matchers), -(-self.vocab_size // 32)), -1, np.int32)
    rows = [(matcher.matcher, row) for row, matcher in enumerate(matchers)
            if matcher is not None]
    if rows:
      # The rows of a batch are worked on by several threads.
      self._executor.unsafe_compute_mask_ptr(
          rows, bits.ctypes.data, bits.shape[1] * bits.itemsize, len(bits))
    return bits

  def _compile(self, constraint: Constraint) -> Any:
    matcher_type = self._library.LLMatcher
    grammar = (matcher_type.grammar_from_regex(constraint.text)
               if constraint.kind == "regex" else
               matcher_type.grammar_from_json_schema(
                   constraint.text, overrides=_JSON_STYLE))
    matcher = matcher_type(self._tokenizer, grammar, log_level=0)
    name = _name(constraint)
    if matcher.is_error():
      raise ConfigError(f"{name} cannot be used: "
                        f"{_reason(matcher.get_error())}.")
    bits = np.frombuffer(matcher.compute_bitmask(), np.int32)[None, :]
    allowed_V = unpack_bits(bits, self.vocab_size)[0]
    allowed_V[list(self._stop_ids)] = False
    require(matcher.is_accepting() or bool(allowed_V.any()),
            f"{name} cannot be used: no text of this vocabulary matches it.")
    return matcher


class Matcher:
  """How far one completion has come.

  Attributes:
    matcher: llguidance's.
  """

  def __init__(self, matcher: Any, constraint: Constraint):
    """Of `Grammars.matcher`."""
    self.matcher = matcher
    self._constraint = constraint

  @property
  def complete(self) -> bool:
    """Whether the text so far is one that the constraint allows."""
    return self.matcher.is_accepting()

  def push(self, token: int) -> None:
    """Takes a token that was allowed.

    Raises:
      ConfigError: it was not, or nothing can follow it: the vocabulary lacks
        tokens that the constraint needs, or a bias forbids all it allows.
    """
    if not self.matcher.consume_token(token) or self.matcher.is_error():
      raise ConfigError(
          f"{_name(self._constraint)} cannot be followed: no token that may "
          "come next can be drawn; check logit_bias, and that the tokenizer "
          "has every character that the constraint asks for.")


def unpack_bits(bits_BW: Any, vocab_size: int) -> Any:
  """`Grammars.allowed_bits` as bool [B, V], NumPy's or JAX's."""
  words_V = np.arange(vocab_size)
  return (bits_BW[:, words_V // 32] >> (words_V % 32)[None, :].astype(np.int32)
          ) & 1 != 0


class _Vocabulary:
  """A tokenizer as llguidance's `TokenizerWrapper` wants it."""

  def __init__(self, tokenizer: Tokenizer, vocab_size: int,
               stop_ids: tuple[int, ...]):
    self._tokenizer = tokenizer
    special = set(tokenizer.special_tokens.values()) | set(stop_ids)
    self.eos_token_id = stop_ids[0]
    self.bos_token_id = None
    self.special_token_ids = sorted(special)
    self.tokens = [self._bytes_of(token_id) for token_id in range(vocab_size)]

  def _bytes_of(self, token_id: int) -> bytes:
    try:
      return self._tokenizer.token_bytes(token_id)
    except ValueError:
      return b""  # a row of the embedding table without a token; never allowed

  def __call__(self, text: bytes | str) -> list[int]:
    if isinstance(text, bytes):
      text = text.decode("utf-8", errors="replace")
    return self._tokenizer.encode_text(text)


def _llguidance() -> Any:
  try:
    import llguidance
  except ImportError:
    raise ConfigError("constrained generation needs the package llguidance; "
                      "pip install 'llm_jax[serve]'.") from None
  return llguidance


def _name(constraint: Constraint) -> str:
  if constraint.kind == "regex":
    return f"the regular expression {constraint.text!r}"
  return "the JSON schema"


def _reason(message: str) -> str:
  """The line of a longer message that says what is wrong."""
  lines = [line.strip() for line in message.splitlines() if line.strip()]
  reasons = [line.removeprefix("error: ") for line in lines
             if line.startswith("error: ")]
  return (reasons or lines or ["llguidance gives no reason"])[0].rstrip(".")
