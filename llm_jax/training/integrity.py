"""Whether a checkpoint's files are those that were written.

Orbax renames a checkpoint to its final name when it is whole, so a process
that is killed leaves none by halves. What it does not find out is what happens
to the files afterwards, or under them: of single bits flipped in a tensor's
file none was noticed on restoring (docs/LOG.md). So the last thing that a save
writes, before the renaming, is `checksums.json`: of every file its size and
CRC-32. Before a restore they are compared.

With several processes, which share one file system, process 0 writes the
record, each reads a part of the files again, and all take the same decision.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Sequence

from etils import epath
import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp

from llm_jax.config import require

CHECKSUMS = "checksums.json"
DAMAGED = ".damaged"
_PARTIAL = ".orbax-checkpoint-tmp"
_PIECE = 1 << 24
_THREADS = 8
_TOLD_BYTES = 1024
_ERRORS = 1000  # more than the files of a save
# Written by Orbax after the record, and not needed for restoring.
_NOT_RECORDED = (CHECKSUMS, "_CHECKPOINT_METADATA", "commit_success.txt")


def write_checksums(checkpoint: epath.Path) -> None:
  """Records name, size and CRC-32 of the files of a checkpoint.

  Args:
    checkpoint: directory of a step, all of whose items are written.
  """
  paths = sorted(_files(checkpoint), key=str)
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    sums = threads.map(_size_and_sum, paths)
    files = {str(path.relative_to(checkpoint)): found
             for path, found in zip(paths, sums)}
  (checkpoint / CHECKSUMS).write_text(json.dumps(
      {"crc32": _sum_of(files), "files": files}, indent=1))


def find_damage(checkpoint: epath.PathLike, items: Iterable[str],
                part: int = 0, parts: int = 1) -> str:
  """What is wrong with a checkpoint, in words; "" where nothing is found.

  A checkpoint without a record, of a version that wrote none, need only have
  its items.

  Args:
    checkpoint: directory of a step.
    items: the items that are going to be restored; others are not looked at.
    part: which part of the files is read again, of `parts`. Presence and size
      are compared of all.
    parts: how many processes share the reading.
  """
  checkpoint, items = epath.Path(checkpoint), tuple(items)
  for item in items:
    if not (checkpoint / item).exists():
      return f"{item} is missing"
  if not (checkpoint / CHECKSUMS).exists():
    return ""
  try:
    record = json.loads((checkpoint / CHECKSUMS).read_text())
    files = record["files"]
    whole = record["crc32"] == _sum_of(files)
  except (ValueError, KeyError, TypeError, OSError):
    whole = False
  if not whole:
    return f"{CHECKSUMS} is not what was written"
  files = {name: tuple(found) for name, found in sorted(files.items())
           if name.split("/")[0] in items}
  for name, (size, _) in files.items():
    path = checkpoint / name
    if not path.exists():
      return f"{name} is missing"
    if path.stat().length != size:
      return f"{name} has {path.stat().length} bytes in place of {size}"
  mine = list(files)[part::parts]
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    found = threads.map(_size_and_sum, (checkpoint / name for name in mine))
    for name, sums in zip(mine, found):
      if tuple(sums) != files[name]:
        return f"bytes of {name} are not those that were written"
  return ""


def newest_whole(directory: epath.Path, steps: Sequence[int],
                 items: Iterable[str]) -> int | None:
  """The newest step that is undamaged; newer ones are told and put aside.

  They are renamed to `<step>.damaged`, so that nobody loads or counts them
  again. Every process of the run must call it.

  Args:
    directory: of the checkpoints.
    steps: those that are there.
    items: what each must have.

  Returns:
    The step, or None where there is none at all.

  Raises:
    ConfigError: all are damaged; then none is renamed.
  """
  damaged = {}
  for step in sorted(steps, reverse=True):
    told = agreed(find_damage(directory / str(step), items,
                              jax.process_index(), jax.process_count()))
    if not told:
      break
    damaged[step] = told
  else:
    require(not damaged, f"all checkpoints in {directory} are damaged: "
            + "; ".join(f"{step}: {told}" for step, told in damaged.items())
            + "; put one back from a copy, or delete them to begin anew.")
    return None
  if jax.process_index() == 0:
    for newer, told in damaged.items():
      aside = _put_aside(directory / str(newer))
      print(f"checkpoint {newer} is damaged: {told}; it is kept as {aside}, "
            f"and the run goes on from step {step}", flush=True)
  return step


def agreed(told: str) -> str:
  """What any process has to tell, the first one's words; "" where none has.

  Every process must call it. It waits for all of them.
  """
  if jax.process_count() == 1:
    return told
  raw = np.zeros(_TOLD_BYTES, np.uint8)
  words = told.encode()[:_TOLD_BYTES]
  raw[:len(words)] = np.frombuffer(words, np.uint8)
  for row in multihost_utils.process_allgather(raw):
    if row.any():
      return bytes(row).rstrip(b"\0").decode(errors="ignore")
  return ""


def _put_aside(checkpoint: epath.Path) -> epath.Path:
  aside = checkpoint.with_name(checkpoint.name + DAMAGED)
  number = 1
  while aside.exists():
    number += 1
    aside = checkpoint.with_name(f"{checkpoint.name}{DAMAGED}-{number}")
  checkpoint.rename(aside)
  return aside


def partial(directory: epath.Path, step: int) -> epath.Path:
  """Where Orbax writes the checkpoint of `step` until it is whole."""
  unfinished = directory / f"{step}{_PARTIAL}"
  # An object store cannot rename: there it is at its final place.
  return unfinished if unfinished.exists() else directory / str(step)


def remove_partial(directory: epath.Path) -> None:
  """Removes what saves that were cut short, or failed, have left."""
  if directory.is_dir():
    for path in directory.iterdir():
      if _PARTIAL in path.name:
        # Of a save that failed, other files may still be written: it is then
        # not empty, and left to the next call.
        with contextlib.suppress(OSError):
          path.rmtree(missing_ok=True)


def why(error: BaseException) -> str:
  """The reason of an error of Orbax or TensorStore, in few words."""
  number = getattr(error, "errno", None)
  if number is None:  # TensorStore tells in words what the system told it
    found = re.search(r"os_error_code='(\d+)'", str(error))
    number = int(found.group(1)) if found else None
  if number is not None and number in errno.errorcode:
    return f"{os.strerror(number)} ({errno.errorcode[number]})"
  first_line = (str(error).splitlines() or [""])[0]
  return f"{type(error).__name__}: {first_line[:300]}"


def free_space(directory: epath.Path) -> str:
  """"(1.5 of 100.0 GiB are free there)"; "" where it cannot be known."""
  try:
    usage = shutil.disk_usage(os.fspath(directory))
  except OSError:
    return ""
  gib = 2.0**30
  return (f" ({usage.free / gib:.2f} of {usage.total / gib:.2f} GiB are free "
          "there)")


def forget_errors(manager: ocp.CheckpointManager) -> None:
  """Waits for a save; takes the errors of one that failed, told already.

  Orbax raises one at a time, and each file of metadata that a full disk has not
  taken is one. Those that nobody takes are raised by the next save.
  """
  for _ in range(_ERRORS):
    try:
      manager.wait_until_finished()
      manager.check_for_errors()
    except Exception:
      continue
    return


class _OrbaxErrors(logging.Filter):
  """Leaves out the tracebacks of saves that fail: `Checkpointer` tells them."""

  def filter(self, record: logging.LogRecord) -> bool:
    """Whether the record is logged."""
    return not (record.levelno == logging.ERROR
                and "orbax" in record.pathname)


def quieten_orbax() -> None:
  """Turns off Orbax's own reports of failed saves, some 400 lines each."""
  logger = logging.getLogger("absl")
  if not any(isinstance(f, _OrbaxErrors) for f in logger.filters):
    logger.addFilter(_OrbaxErrors())


def _files(checkpoint: epath.Path) -> list[epath.Path]:
  found = []
  for path in checkpoint.iterdir():
    if path.is_dir():
      found += _files(path)
    elif path.name not in _NOT_RECORDED:
      found.append(path)
  return found


def _size_and_sum(path: epath.Path) -> tuple[int, str]:
  size = total = 0
  with path.open("rb") as file:
    while piece := file.read(_PIECE):
      size, total = size + len(piece), zlib.crc32(piece, total)
  return size, f"{total:08x}"


def _sum_of(files: dict[str, tuple[int, str]]) -> str:
  return f"{zlib.crc32(json.dumps(files, sort_keys=True).encode()):08x}"
