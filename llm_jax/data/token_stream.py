"""One long array of token ids, kept in several files.

Windows are read across the borders of files: by memory map where the files are
local, by byte ranges (all of a batch asked for at once) where they are not. So
a corpus need not fit into memory in either case.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import fsspec
import numpy as np

from llm_jax.data.files import file_system, is_local


class TokenStream:
  """The ids of one split: a flat array in one or more files.

  `len(stream)`, `stream[start:stop]` (a copy, of the stored dtype), and
  `np.asarray(stream)` behave as for an array.
  """

  def __init__(self, paths: Sequence[str], sizes: Sequence[int],
               dtype: np.dtype):
    self._paths = tuple(paths)
    self._ends = np.cumsum([0, *sizes])
    self.dtype = np.dtype(dtype)

  def __len__(self) -> int:
    return int(self._ends[-1])

  def __getitem__(self, window: slice) -> np.ndarray:
    start, stop, step = window.indices(len(self))
    if step != 1:
      raise IndexError("a TokenStream is read by slices of step 1")
    return self.read([start], max(stop - start, 0))[0]

  def __array__(self, dtype: Any = None, copy: bool | None = None
                ) -> np.ndarray:
    del copy  # always a copy: the parts are in several files
    array = self[:]
    return array if dtype is None else array.astype(dtype)

  def read(self, starts_B: Sequence[int], length: int) -> np.ndarray:
    """The windows [start, start + length) as an array [B, length].

    Raises `IndexError` for a window that is not within the stream.
    """
    windows_BT = np.empty((len(starts_B), length), self.dtype)
    remote = []
    for row_T, start in zip(windows_BT, map(int, starts_B)):
      if start < 0 or start + length > len(self):
        raise IndexError(f"tokens {start} to {start + length} of {len(self)}")
      done = 0
      while done < length:
        shard = int(np.searchsorted(self._ends, start + done, "right")) - 1
        first = start + done - int(self._ends[shard])
        part = row_T[done:done + int(self._ends[shard + 1]) - start - done]
        if self._maps[shard] is None:
          remote.append((shard, first, part))
        else:
          part[:] = self._maps[shard][first:first + len(part)]
        done += len(part)
    if remote:
      self._read_ranges(remote)
    return windows_BT

  @functools.cached_property
  def _maps(self) -> list[np.ndarray | None]:
    return [np.load(path, mmap_mode="r") if is_local(path) else None
            for path in self._paths]

  @functools.cached_property
  def _headers(self) -> list[int]:
    return [npy_header(path)[0] for path in self._paths]

  def _read_ranges(self, wanted: list[tuple[int, int, np.ndarray]]) -> None:
    """Fills arrays from byte ranges of remote shards, all asked for at once."""
    fs, _ = file_system(self._paths[0])
    size = self.dtype.itemsize
    starts = [self._headers[shard] + first * size for shard, first, _ in wanted]
    chunks = fs.cat_ranges(
        [self._paths[shard] for shard, _, _ in wanted], starts,
        [start + part.nbytes for start, (_, _, part) in zip(starts, wanted)])
    for (_, _, part), chunk in zip(wanted, chunks):
      part[:] = np.frombuffer(chunk, self.dtype)


def npy_header(path: str) -> tuple[int, int, int]:
  """(bytes before the data, items, bytes of an item) that a .npy declares."""
  with fsspec.open(path, "rb") as stream:
    version = np.lib.format.read_magic(stream)
    read = (np.lib.format.read_array_header_1_0 if version == (1, 0)
            else np.lib.format.read_array_header_2_0)
    shape, _, dtype = read(stream)
    return stream.tell(), int(np.prod(shape)), dtype.itemsize
