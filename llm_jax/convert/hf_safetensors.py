"""safetensors, the format of weights on the Hugging Face hub.

A file is the length of a header (8 bytes, little-endian), the header (JSON:
name -> dtype, shape, place) and the tensors' bytes, row-major. That is all,
so it is read here with `seek` and `read`: one tensor at a time is in memory,
where a memory map would keep what was read as long as the system likes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from etils import epath
import jax.numpy as jnp
import numpy as np

from llm_jax.config import ConfigError, require

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

DTYPES = {
    "F64": np.dtype(np.float64), "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16), "BF16": np.dtype(jnp.bfloat16),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn), "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32), "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8), "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
# As the format's own reader has it: a longer header is not believed.
_MAX_HEADER = 100 * 2**20


@dataclasses.dataclass(frozen=True)
class Stored:
  """Where one tensor lies: `shape` and `dtype`, and its bytes in `file`."""
  file: epath.Path
  dtype: np.dtype
  shape: tuple[int, ...]
  begin: int
  end: int


def read_header(file: epath.Path) -> dict[str, Stored]:
  """The tensors of one file, by name.

  Raises:
    ConfigError: it is not a safetensors file, or is cut short.
  """
  size = file.stat().length
  with file.open("rb") as stream:
    start = stream.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
    if not 2 <= length <= min(_MAX_HEADER, max(size - 8, 0)):
      raise ConfigError(
          f"{file} is not a whole safetensors file ({size} bytes, a header of "
          f"{length}); download it again.")
    text = stream.read(length)
  try:
    contents = json.loads(text)
    tensors = {name: _stored(file, 8 + length, entry)
               for name, entry in contents.items() if name != "__metadata__"}
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ConfigError(
        f"{file} is not a safetensors file: its header cannot be read "
        f"({type(error).__name__}: {error}); download it again.") from error
  for name, stored in tensors.items():
    wanted = math.prod(stored.shape) * stored.dtype.itemsize
    require(stored.end - stored.begin == wanted, f"{file} is corrupt: tensor "
            f"{name} has {stored.end - stored.begin} bytes, where its shape "
            f"{stored.shape} needs {wanted}; download it again.")
    require(stored.end <= size, f"{file} is cut short: it has {size} bytes, "
            f"and tensor {name} ends at {stored.end}; download it again.")
  return tensors


def _stored(file: epath.Path, offset: int, entry: dict[str, Any]) -> Stored:
  dtype = DTYPES.get(entry["dtype"])
  if dtype is None:
    raise ValueError(f"dtype {entry['dtype']} is not known here")
  begin, end = entry["data_offsets"]
  shape = tuple(int(n) for n in entry["shape"])
  if min((0, begin, *shape)) < 0:
    raise ValueError("a negative number among shapes and offsets")
  return Stored(file, dtype, shape, offset + begin, offset + end)


class Weights:
  """The tensors of a folder, however many files they are spread over.

  A context manager: `with Weights(folder) as weights: weights.read(name)`.

  Attributes:
    tensors: name -> `Stored`.
  """

  def __init__(self, folder: epath.Path):
    """Reads the headers.

    Raises:
      ConfigError: no weights, weights of another format, a missing file.
    """
    self.folder = folder
    self.tensors: dict[str, Stored] = {}
    self._stack = contextlib.ExitStack()
    self._streams: dict[epath.Path, BinaryIO] = {}
    for file, names in _files(folder).items():
      found = read_header(file)
      for name in names or ():
        require(name in found, f"{folder / INDEX} says that tensor {name} is "
                f"in {file.name}, which has none of that name; download both "
                "again.")
      self.tensors |= found

  def __enter__(self) -> Weights:
    return self

  def __exit__(self, *exception: Any) -> None:
    self._stack.close()

  def read(self, name: str) -> np.ndarray:
    """One tensor, in the file's dtype."""
    stored = self.tensors[name]
    stream = self._streams.get(stored.file)
    if stream is None:
      stream = self._stack.enter_context(stored.file.open("rb"))
      self._streams[stored.file] = stream
    stream.seek(stored.begin)
    data = np.empty(stored.end - stored.begin, np.uint8)
    count = stream.readinto(memoryview(data)) if data.size else 0
    require(count == data.size, f"{stored.file} ends within tensor {name}; "
            "download it again.")
    return data.view(stored.dtype).reshape(stored.shape)


def _files(folder: epath.Path) -> dict[epath.Path, list[str]]:
  """File -> the tensors that the index says it has ([] without an index)."""
  if (folder / INDEX).exists():
    try:
      where = json.loads((folder / INDEX).read_text())["weight_map"]
      files: dict[epath.Path, list[str]] = {}
      for name, file in where.items():
        files.setdefault(folder / file, []).append(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise ConfigError(f"{folder / INDEX} is not an index of safetensors "
                        f"({type(error).__name__}: {error}); download it "
                        "again.") from error
    for file, names in files.items():
      require(file.exists(), f"{file} is missing, which {INDEX} names for "
              f"tensor {names[0]} and {len(names) - 1} more; download it too.")
    return files
  if (folder / SINGLE).exists():
    return {folder / SINGLE: []}
  other = [name for name in ("pytorch_model.bin", "tf_model.h5",
                             "pytorch_model.bin.index.json",
                             "flax_model.msgpack", "consolidated.00.pth")
           if (folder / name).exists()]
  require(not other, f"{folder} has its weights in {' '.join(other)} only, "
          "which is not read here (a pickle can run any program); have "
          "transformers write safetensors: AutoModelForCausalLM"
          ".from_pretrained(folder).save_pretrained(new_folder).")
  raise ConfigError(f"{folder} has no {SINGLE} and no {INDEX}; give the "
                    "folder that holds the weights.")


@dataclasses.dataclass(frozen=True)
class Planned:
  """A tensor to be written.

  Attributes:
    name: its name.
    shape: its shape.
    values: () -> np.ndarray of that shape.
    dtype: what it is written as.
  """
  name: str
  shape: tuple[int, ...]
  values: Callable[[], np.ndarray]
  dtype: np.dtype = DTYPES["F32"]

  @property
  def size(self) -> int:
    """Its bytes in the file."""
    return math.prod(self.shape) * self.dtype.itemsize


def write_weights(folder: epath.Path, tensors: Iterable[Planned],
                  max_shard_size: int) -> list[str]:
  """Writes tensors to files of at most `max_shard_size` bytes, with an index.

  A tensor's values are asked for when they are written, and then let go.

  Args:
    folder: exists.
    tensors: what to write, in this order.
    max_shard_size: bytes of one file; a larger tensor has a file of its own.

  Returns:
    The names of the files.

  Raises:
    ConfigError: a value is too large for float16.
  """
  shards: list[list[Planned]] = [[]]
  room = max_shard_size
  for tensor in tensors:
    if shards[-1] and tensor.size > room:
      shards.append([])
      room = max_shard_size
    shards[-1].append(tensor)
    room -= tensor.size
  names = ([SINGLE] if len(shards) == 1 else
           [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
            for i in range(len(shards))])
  for name, shard in zip(names, shards):
    write_file(folder / name, shard)
  if len(shards) > 1:
    total = sum(tensor.size for shard in shards for tensor in shard)
    (folder / INDEX).write_text(json.dumps({
        "metadata": {"total_size": total},
        "weight_map": {t.name: name for name, shard in zip(names, shards)
                       for t in shard}}, indent=1))
  return names


def write_file(file: epath.Path, tensors: list[Planned]) -> None:
  """Writes one file of tensors, asking for the values of each when it is due.
  """
  header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
  place = 0
  for tensor in tensors:
    header[tensor.name] = {
        "dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape),
        "data_offsets": [place, place + tensor.size]}
    place += tensor.size
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # so that the tensors are aligned
  with file.open("wb") as stream:
    stream.write(struct.pack("<Q", len(text)) + text)
    for tensor in tensors:
      for piece in _pieces(tensor):
        stream.write(piece.view(np.uint8).data)


def _pieces(tensor: Planned) -> Iterator[np.ndarray]:
  """The values in their dtype, some rows at a time: no copy of them all."""
  dtype = tensor.dtype
  values = np.asarray(tensor.values()).reshape(tensor.shape)
  rows = values.reshape(values.shape[0] if values.ndim else 1, -1)
  step = max(1, 2**22 // max(1, rows.shape[1]))
  for i in range(0, rows.shape[0], step):
    with np.errstate(over="ignore"):
      piece = np.ascontiguousarray(rows[i:i + step]).astype(dtype, copy=False)
    require(dtype != np.float16 or bool(np.isfinite(piece).all()),
            f"tensor {tensor.name} has values beyond float16's 65504; give "
            "dtype=bfloat16 or float32.")
    yield piece.reshape(-1)
