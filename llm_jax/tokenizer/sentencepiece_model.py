"""The file format of SentencePiece models, as far as a vocabulary needs it.

A model is a protocol buffer (sentencepiece_model.proto): fields, each a number
and a type packed in a varint, then the value. Only these are read and written:

  1 pieces, each {1 text, 2 score, 3 type}
  2 trainer {3 model type, 35 byte fallback}
  3 normalizer {1 name, 3 add_dummy_prefix, 4 remove_extra_whitespaces,
                5 escape_whitespaces}

which is what other formats of the same vocabulary (GGUF) hold. SentencePiece
itself then does the encoding.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Sequence

UNIGRAM, BPE = 1, 2
# Types of pieces; GGUF counts them alike.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_VARINT, _LENGTH, _FLOAT = 0, 2, 5


@dataclasses.dataclass(frozen=True)
class Pieces:
  """A vocabulary: texts, scores and types of its pieces, in order of ids."""
  texts: Sequence[str]
  scores: Sequence[float]
  types: Sequence[int]
  model_type: int = BPE
  add_space: bool = True
  one_space: bool = False  # runs of spaces are taken for one
  normalization: str = "identity"


def write_model(pieces: Pieces) -> bytes:
  """A model that `sentencepiece` loads."""
  model = bytearray()
  for text, score, kind in zip(pieces.texts, pieces.scores, pieces.types,
                               strict=True):
    # A type that is the default is left out, as protocol buffers do.
    model += _bytes(1, _bytes(1, text.encode()) + _float(2, score)
                    + (_number(3, kind) if kind != NORMAL else b""))
  fallback = BYTE in pieces.types
  model += _bytes(2, _number(3, pieces.model_type) + _number(35, int(fallback)))
  model += _bytes(3, _bytes(1, pieces.normalization.encode())
                  + _number(3, int(pieces.add_space))
                  + _number(4, int(pieces.one_space)) + _number(5, 1))
  return bytes(model)


def read_model(model: bytes) -> Pieces:
  """The vocabulary of a serialised model; ValueError if it is not one."""
  texts: list[str] = []
  scores: list[float] = []
  types: list[int] = []
  settings = {"model_type": UNIGRAM, "add_space": True, "one_space": True,
              "normalization": ""}
  for number, value in _fields(model):
    if number == 1:
      piece = dict(_fields(value))
      texts.append(piece[1].decode())
      scores.append(struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0)
      types.append(piece.get(3, NORMAL))
    elif number == 2:
      settings["model_type"] = dict(_fields(value)).get(3, UNIGRAM)
    elif number == 3:
      normalizer = dict(_fields(value))
      settings |= {"add_space": bool(normalizer.get(3, 1)),
                   "one_space": bool(normalizer.get(4, 1)),
                   "normalization": normalizer.get(1, b"").decode()}
  return Pieces(texts, scores, types, **settings)


def _varint(value: int) -> bytes:
  out = bytearray()
  while value > 127:
    out.append(value & 127 | 128)
    value >>= 7
  out.append(value)
  return bytes(out)


def _number(field: int, value: int) -> bytes:
  return _varint(field << 3 | _VARINT) + _varint(value)


def _float(field: int, value: float) -> bytes:
  return _varint(field << 3 | _FLOAT) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
  return _varint(field << 3 | _LENGTH) + _varint(len(value)) + value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
  """(number, value) of each field of a message."""
  place = 0

  def varint() -> int:
    nonlocal place
    value = shift = 0
    while True:
      if place >= len(data):
        raise ValueError("a message that ends within a number")
      byte = data[place]
      place += 1
      value |= (byte & 127) << shift
      shift += 7
      if byte < 128:
        return value

  while place < len(data):
    tag = varint()
    kind = tag & 7
    if kind == _VARINT:
      yield tag >> 3, varint()
      continue
    size = {1: 8, _FLOAT: 4}.get(kind) if kind != _LENGTH else varint()
    if size is None or place + size > len(data):
      raise ValueError("not a protocol buffer")
    yield tag >> 3, data[place:place + size]
    place += size
