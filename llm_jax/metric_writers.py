"""Where metrics go: JSON lines, TensorBoard, Weights & Biases, the console.

Each writer has `write(step, record)`, `flush()` and `close()`. A run that goes
on from a checkpoint of step n forgets what was written after step n, so that a
file reads as if the run had never been interrupted.

A disk that is full does not end a run: what could not be written is told once,
lines are written later, TensorBoard's points are lost.
"""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

from llm_jax.config import ConfigError

# An object store cannot append: the whole file is written again, so not often.
_REMOTE_SECONDS = 60.0
_TENSORBOARD_SECONDS = 10.0  # between flushes, or before it is tried again


def read_jsonl(path: epath.PathLike) -> list[dict[str, Any]]:
  """The records of a JSONL file, [] if there is no such file.

  A line that is no JSON is left out: a process killed while writing leaves half
  a line.
  """
  path, records = epath.Path(path), []
  if path.exists():
    for line in path.read_text(encoding="utf-8").split("\n"):
      try:
        records.append(json.loads(line))
      except json.JSONDecodeError:
        continue
  return records


class JsonlWriter:
  """Appends `{"step": n, ...}` lines; floats in full precision.

  A float is written so that reading it gives the same float, bit for bit.

  Attributes:
    kept: the records that were there and stay (those up to `start_step`).
  """

  def __init__(self, path: epath.PathLike, start_step: int = 0):
    """Opens `path` to go on after `start_step`; 0 begins the file anew."""
    self._path = epath.Path(path)
    self._remote = "://" in str(path)
    self.kept = [r for r in read_jsonl(self._path)
                 if 0 < start_step and r.get("step", 0) <= start_step]
    self._lines = [self._line(record) for record in self.kept]
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._write_all()
    # Without a buffer, so that what could not be written is known.
    self._file = None if self._remote else open(self._path, "ab", buffering=0)
    self._unwritten, self._told = b"", False

  @staticmethod
  def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"

  def _write_all(self) -> None:
    """Replaces the file; a kill on the way leaves the old one or the new."""
    text, self._written_at = "".join(self._lines), time.monotonic()
    if self._remote:
      self._path.write_text(text, encoding="utf-8")
      return
    part = self._path.with_name(self._path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(self._path)
    self._lines = []

  def write(self, step: int, record: Mapping[str, Any]) -> None:
    """Adds one line; on a local disk it is there at once."""
    line = self._line({"step": step, **record})
    if self._file is not None:
      self._unwritten += line.encode()
      self._append()
    else:
      self._lines.append(line)
      if time.monotonic() - self._written_at > _REMOTE_SECONDS:
        self._write_all()

  def _append(self) -> None:
    try:
      while self._unwritten:  # a disk that fills up takes a part
        written = self._file.write(self._unwritten)
        self._unwritten = self._unwritten[written:]
      self._told = False
    except OSError as error:
      if not self._told:
        print(f"{self._path} cannot be written: {error.strerror}; its lines "
              "are kept until it can", flush=True)
      self._told = True

  def flush(self) -> None:
    """Everything written so far is in the file, where there is room."""
    if self._remote:
      self._write_all()
    elif self._unwritten:
      self._append()

  def close(self) -> None:
    """Writes what is left."""
    self.flush()
    if self._file is not None:
      self._file.close()


class TensorBoardWriter:
  """TensorBoard event files: numbers as scalars, strings as text.

  They are written by a thread of ours. That of tensorboardX's `SummaryWriter`
  ends where a disk is full, and then whoever adds an event waits for ever.
  """

  def __init__(self, directory: epath.PathLike, start_step: int = 0):
    """Writes to `directory`; TensorBoard hides old events past `start_step`."""
    self._directory, self._files, self._events = str(directory), 0, None
    self._next_time, self._told = 0.0, False
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    try:
      # Only where it is wanted: a plain import of this file stays cheap.
      import tensorboardX.event_file_writer
      from tensorboardX.proto import event_pb2
      self._tensorboard, self._pb = tensorboardX, event_pb2
      tensorboardX.event_file_writer.directory_check(self._directory)
      self._events = self._open()
    except ImportError as error:  # gs:// and s3:// need a package more
      raise ConfigError(
          f"TensorBoard files cannot be written to {directory} ({error}); "
          "install what is missing, or set --nologging.tensorboard.") from None
    self._events.write_event(self._pb.Event(
        wall_time=time.time(), step=start_step + 1 if start_step else 0,
        session_log=self._pb.SessionLog(
            status=self._pb.SessionLog.SessionStatus.Value("START"))))

  def _open(self) -> Any:
    self._files += 1
    return self._tensorboard.event_file_writer.EventsWriter(
        f"{self._directory}/events", f".{self._files}")

  def write(self, step: int, record: Mapping[str, Any]) -> None:
    """Adds each number and each string of the record under its name."""
    self._thread.submit(self._write, step, dict(record), time.time())

  def _write(self, step: int, record: Mapping[str, Any], now: float,
             flush: bool = False) -> None:
    summary = self._tensorboard.summary
    due = flush or now >= self._next_time
    try:
      if self._events is None and due:
        self._events = self._open()
      if self._events is None:
        return
      for name, value in record.items():
        made = (summary.text if isinstance(value, str) else summary.scalar)(
            name, value)
        self._events.write_event(
            self._pb.Event(wall_time=now, step=step, summary=made))
      if due:
        self._events.flush()
        self._next_time, self._told = now + _TENSORBOARD_SECONDS, False
    except OSError as error:
      # Nothing is read after half a record: another file goes on.
      self._events, self._next_time = None, now + _TENSORBOARD_SECONDS
      if not self._told:
        print(f"TensorBoard files in {self._directory} cannot be written: "
              f"{error.strerror}; points are lost until they can", flush=True)
      self._told = True

  def flush(self) -> None:
    """Writes queued events."""
    self._thread.submit(self._write, 0, {}, time.time(), True).result()

  def close(self) -> None:
    """Writes queued events and closes the file."""
    self.flush()
    self._thread.shutdown()
    if self._events is not None:
      self._events.close()


class WandbWriter:
  """Weights & Biases; a resumed run goes on under the same id.

  W&B cannot unwrite points. They are drawn over `step`, and a run that was
  killed past its last checkpoint shows the steps it repeated twice.
  """

  def __init__(self, project: str, workdir: epath.PathLike, start_step: int,
               run_config: Mapping[str, Any] | None = None):
    """Starts a W&B run, or goes on with the one whose id is in `workdir`."""
    try:
      import wandb
    except ImportError:
      raise ConfigError(
          f"logging.wandb_project is {project!r}, but the package wandb is not "
          "installed; `pip install wandb`, or leave the setting empty."
      ) from None
    id_file = epath.Path(workdir) / "wandb_id.txt"
    run_id = id_file.read_text() if start_step and id_file.exists() else None
    self._run = wandb.init(project=project, name=epath.Path(workdir).name,
                           config=dict(run_config or {}), id=run_id,
                           resume="allow" if run_id else None)
    id_file.write_text(self._run.id)
    self._run.define_metric("*", step_metric="step")

  def write(self, step: int, record: Mapping[str, Any]) -> None:
    """Adds the record."""
    self._run.log({"step": step, **record})

  def flush(self) -> None:
    """W&B sends by itself."""

  def close(self) -> None:
    """Ends the W&B run."""
    self._run.finish()


# --- the console line --------------------------------------------------------


def format_count(value: float) -> str:
  """12345 -> "12.3k", 4.2e7 -> "42.0M"."""
  for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
    if abs(value) >= size:
      return f"{value / size:.1f}{unit}"
  return f"{value:.0f}"


def format_seconds(seconds: float) -> str:
  """9 -> "9s", 80 -> "1m20s", 3700 -> "1h01m", 90000 -> "1d01h"."""
  s = round(seconds)
  if s < 60:
    return f"{s}s"
  if s < 3600:
    return f"{s // 60}m{s % 60:02d}s"
  if s < 86400:
    return f"{s // 3600}h{s % 3600 // 60:02d}m"
  return f"{s // 86400}d{s % 86400 // 3600:02d}h"


def format_line(step: int, num_steps: int, record: Mapping[str, float], *,
                eta_seconds: float | None = None) -> str:
  """"step 120/1000 | loss 4.1234 | 12.3k tok/s | MFU 31% | ETA 1m20s".

  Args:
    step: steps done.
    num_steps: steps in all.
    record: what to show; `tokens_per_second` and `mfu` have forms of their own.
    eta_seconds: time left, None if not known.
  """
  parts = [f"step {step}/{num_steps}"]
  for name, value in record.items():
    if name == "tokens_per_second":
      parts.append(f"{format_count(value)} tok/s")
    elif name == "mfu":
      parts.append(f"MFU {value:.0%}")
    else:
      plain = value == 0 or 1e-3 <= abs(value) < 1e5
      parts.append(f"{name} {value:.4f}" if plain else f"{name} {value:.3g}")
  if eta_seconds is not None:
    parts.append(f"ETA {format_seconds(eta_seconds)}")
  return " | ".join(parts)
