"""The logger, its files, and the counting of operations."""

import contextlib
import json
import math
import resource
import struct
import sys
import types

from etils import epath
import fsspec
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from llm_jax import flops, metric_writers, metrics
from llm_jax.config import ConfigError, LoggingConfig, ModelConfig
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward

QUIET = LoggingConfig(every=1, tensorboard=False)


def logged(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def without_times(records):
  return [{k: v for k, v in record.items() if k not in metrics.TIMINGS}
          for record in records]


class Dispatched:
  """Stands for a scalar still being computed; says when it was waited for."""

  def __init__(self, value):
    self.value, self.waited = value, False

  def block_until_ready(self):
    self.waited = True
    return self

  def __float__(self):
    assert self.waited, "read before its step was waited for"
    return self.value


def test_a_step_is_not_waited_for_until_the_next_is_dispatched(tmp_path):
  with metrics.MetricLogger(tmp_path, QUIET, num_steps=9) as logger:
    steps = [Dispatched(float(i)) for i in range(4)]
    for i, loss in enumerate(steps):
      logger.log(i + 1, {"loss": loss})
      assert [s.waited for s in steps] == [j < i for j in range(4)]
      assert len(logged(tmp_path / "metrics.jsonl")) == i
    logger.flush()
    assert steps[-1].waited
    assert len(logged(tmp_path / "metrics.jsonl")) == 4


def test_the_first_the_last_and_each_nth_step_are_written(tmp_path):
  config = LoggingConfig(every=4, tensorboard=False)
  with metrics.MetricLogger(tmp_path, config, num_steps=10) as logger:
    for step in range(1, 11):
      logger.log(step, {"loss": 0.0})
  steps = [record["step"] for record in logged(tmp_path / "metrics.jsonl")]
  assert steps == [1, 4, 8, 10]


def test_losses_are_read_back_bit_for_bit(tmp_path):
  losses = np.float32(np.random.default_rng(0).normal(size=50))
  with metrics.MetricLogger(tmp_path, QUIET, num_steps=50) as logger:
    for step, loss in enumerate(losses, start=1):
      logger.log(step, {"loss": jnp.asarray(loss)})
  read = [np.float32(r["loss"]) for r in logged(tmp_path / "metrics.jsonl")]
  np.testing.assert_array_equal(np.array(read), losses)


class Clock:
  """A clock that goes only when told to."""

  def __init__(self, monkeypatch):
    self.now = 100.0
    monkeypatch.setattr(metrics.time, "monotonic", lambda: self.now)


def run(workdir, start, stop, num_steps=8):
  """Steps start+1..stop; a validation with a sample at steps 3 and 6."""
  with metrics.MetricLogger(workdir, QUIET, num_steps, start) as logger:
    for step in range(start + 1, stop + 1):
      logger.log(step, {"loss": 1 / step})
      if step % 3 == 0:
        logger.write(step, {"val_loss": step}, [{"prompt": "", "text": "né\n"}])


def test_an_interrupted_run_reads_like_an_uninterrupted_one(tmp_path):
  run(tmp_path / "whole", 0, 8)
  run(tmp_path / "cut", 0, 7)  # killed at 7; its last checkpoint is of step 4
  with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
    file.write('{"step": 8, "lo')  # and half a line
  run(tmp_path / "cut", 4, 8)
  for name in ("metrics.jsonl", "samples.jsonl"):
    assert (without_times(logged(tmp_path / "cut" / name))
            == without_times(logged(tmp_path / "whole" / name)))
  seconds = [r["seconds"] for r in logged(tmp_path / "cut" / "metrics.jsonl")]
  assert seconds == sorted(seconds)  # goes on from where it was


def test_rows_that_each_step_has_read_are_recorded(tmp_path):
  """Of every step, whatever is logged; once, though a run be cut."""
  config = LoggingConfig(every=50, tensorboard=False, examples=True)
  def batches(first):
    for n in range(first, 99):
      yield {"tokens": n, "examples": np.array([2 * n, 2 * n + 1])}
  for start, stop in ((0, 7), (4, 9)):
    source = batches(start)
    with metrics.MetricLogger(tmp_path, config, 9, start) as logger:
      for step in range(start + 1, stop + 1):
        assert logger.next(source) == {"tokens": step - 1}
        logger.log(step, {"loss": 1.0})
  assert logged(tmp_path / "examples.jsonl") == [
      {"step": n, "rows": [2 * n - 2, 2 * n - 1]} for n in range(1, 10)]


def test_a_run_from_step_0_begins_its_files_anew(tmp_path):
  run(tmp_path, 0, 5)
  run(tmp_path, 0, 2)
  steps = [record["step"] for record in logged(tmp_path / "metrics.jsonl")]
  assert steps == [1, 2]


def test_waiting_for_data_is_told(tmp_path, monkeypatch, capsys):
  clock = Clock(monkeypatch)

  def batches():
    while True:
      clock.now += 0.3
      yield "batch"

  config, found = LoggingConfig(every=5, tensorboard=False), []
  source = batches()
  with metrics.MetricLogger(tmp_path, config, 10) as logger:
    for step in range(1, 11):
      found.append(logger.next(source))
      logger.log(step, {"loss": 2.5})
      clock.now += 0.7
  assert found == ["batch"] * 10
  records = {r["step"]: r for r in logged(tmp_path / "metrics.jsonl")}
  assert "step_seconds" not in records[1]  # it compiled
  assert records[5]["step_seconds"] == pytest.approx(1.0)
  assert records[5]["data_wait_seconds"] == pytest.approx(0.3)
  assert "data_wait_share 0.3000" in capsys.readouterr().out


def test_no_word_of_waiting_where_there_was_none(tmp_path, monkeypatch, capsys):
  clock = Clock(monkeypatch)
  with metrics.MetricLogger(tmp_path, QUIET, 3) as logger:
    for step in range(1, 4):
      logger.next(iter([0]))
      logger.log(step, {"loss": 2.5})
      clock.now += 1.0
  assert logged(tmp_path / "metrics.jsonl")[-1]["data_wait_seconds"] == 0
  assert "data_wait" not in capsys.readouterr().out


def test_an_evaluation_comes_after_its_step(tmp_path):
  run(tmp_path, 0, 4)
  got = without_times(logged(tmp_path / "metrics.jsonl"))
  assert got[2:4] == [{"step": 3, "loss": 1 / 3}, {"step": 3, "val_loss": 3.0}]
  assert logged(tmp_path / "samples.jsonl") == [
      {"step": 3, "prompt": "", "text": "né\n"}]


def test_rates_leave_out_compiling_and_evaluations(tmp_path, monkeypatch,
                                                   capsys):
  clock = Clock(monkeypatch)
  monkeypatch.setattr(metrics, "peak_flops", lambda kind: 1e6)
  with metrics.MetricLogger(
      tmp_path, LoggingConfig(every=5, tensorboard=False), 20, 0, 100,
      5000 * jax.device_count()) as logger:
    for step in range(1, 21):
      logger.log(step, {"loss": 2.5})
      clock.now += 60.0 if step == 1 else 2.0  # the first step compiles
      if step == 10:
        logger.write(step, {"val_loss": 1.0})
        clock.now += 500.0
  records = {r["step"]: r for r in logged(tmp_path / "metrics.jsonl")
             if "loss" in r}
  assert "tokens_per_second" not in records[1]
  for step in (5, 10, 15, 20):
    assert records[step]["tokens_per_second"] == pytest.approx(50.0)
    assert records[step]["mfu"] == pytest.approx(50.0 * 5000 / 1e6)
  assert records[5]["seconds"] == pytest.approx(60 + 4 * 2)
  lines = capsys.readouterr().out.splitlines()
  assert lines[1] == "step 5/20 | loss 2.5000 | 50 tok/s | MFU 25% | ETA 30s"
  assert "step 10/20 | val_loss 1.0000" in lines


def test_console_line():
  line = metric_writers.format_line(
      120, 1000, {"loss": 4.12344, "tokens_per_second": 12345.0, "mfu": 0.314},
      eta_seconds=80)
  assert line == ("step 120/1000 | loss 4.1234 | 12.3k tok/s | MFU 31% | "
                  "ETA 1m20s")
  assert [metric_writers.format_seconds(s) for s in (9.4, 3700, 90000)] == [
      "9s", "1h01m", "1d01h"]
  assert "lr 3e-05" in metric_writers.format_line(1, 2, {"lr": 3e-5})


def test_only_process_0_writes(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  run(tmp_path, 0, 4)
  assert not list(tmp_path.iterdir())
  assert not capsys.readouterr().out


def test_weighted_means_weigh_by_tokens():
  means = metrics.WeightedMeans()
  means.add({"loss": (jnp.float32(30.0), jnp.float32(10.0))})
  means.add({"loss": (jnp.float32(1.0), jnp.float32(90.0)),
             "right": (2.0, 4.0)})
  means.add({"loss": (0.0, 0.0), "none": (0.0, 0.0)})  # all padding
  got = means.result()
  assert got["loss"] == 0.31 and got["right"] == 0.5
  assert math.isnan(got["none"])
  assert metrics.WeightedMeans().result() == {}


def test_weighted_means_do_not_lose_small_batches():
  means = metrics.WeightedMeans()
  means.add({"n": (jnp.float32(2**24), 1.0)})
  for _ in range(3):
    means.add({"n": (jnp.float32(1.0), 0.0)})  # float32 would drop each
  assert means.result()["n"] == 2**24 + 3


# --- TensorBoard, W&B, remote ------------------------------------------------


def events_of(directory):
  """Events of all files in a TensorBoard directory (TFRecord framing); like
  TensorBoard, none of what follows half a record."""
  events = []
  for file in sorted(directory.iterdir()):
    data, at = file.read_bytes(), 0
    while at + 8 <= len(data):
      (length,) = struct.unpack_from("<Q", data, at)
      if at + 12 + length + 4 > len(data):
        break
      events.append(event_pb2.Event.FromString(
          data[at + 12:at + 12 + length]))
      at += 12 + length + 4  # length, its checksum, the event, its checksum
  return events


def test_tensorboard_files_hold_scalars_texts_and_the_purge(tmp_path):
  config = LoggingConfig(every=1, tensorboard=True)
  with metrics.MetricLogger(tmp_path, config, 9) as logger:
    logger.log(1, {"loss": 0.5})
    logger.write(1, {"val_loss": 0.25}, [{"text": "hello"}])
  scalars = {(v.tag, e.step): v.simple_value
             for e in events_of(tmp_path / "tensorboard")
             for v in e.summary.value if v.HasField("simple_value")}
  assert scalars["loss", 1] == 0.5 and scalars["val_loss", 1] == 0.25
  texts = [v.tensor.string_val for e in events_of(tmp_path / "tensorboard")
           for v in e.summary.value if v.HasField("tensor")]
  assert any(b"hello" in part for text in texts for part in text)
  with metrics.MetricLogger(tmp_path, config, 9, start_step=5):
    pass
  starts = [e.step for e in events_of(tmp_path / "tensorboard")
            if e.HasField("session_log")]
  assert 6 in starts  # steps from 6 on are hidden


@contextlib.contextmanager
def disk_full(size):
  """Files cannot grow past `size`; writing then fails, as on a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_no_run(tmp_path, monkeypatch, capsys):
  """No line is lost or cut, though the disk fills up within one."""
  monkeypatch.setattr(metric_writers, "_TENSORBOARD_SECONDS", 0.0)
  config = LoggingConfig(every=1, tensorboard=True)
  with metrics.MetricLogger(tmp_path, config, 99) as logger:
    logger.log(1, {"loss": 1.0})
    logger.flush()
    size = (tmp_path / "metrics.jsonl").stat().st_size
    with disk_full(size + size // 2):
      for step in range(2, 60):
        logger.log(step, {"loss": 1.0})
      logger.flush()
      assert len((tmp_path / "metrics.jsonl").read_bytes()) == size + size // 2
    told = capsys.readouterr().out
    assert told.count("metrics.jsonl cannot be written: File too large") == 1
    assert told.count(f"{tmp_path}/tensorboard cannot be written") == 1
    for step in range(60, 70):
      logger.log(step, {"loss": 1.0})
  assert [r["step"] for r in logged(tmp_path / "metrics.jsonl")] == [
      *range(1, 70)]
  points = [e.step for e in events_of(tmp_path / "tensorboard")
            for v in e.summary.value if v.tag == "loss"]
  assert {1, *range(60, 70)} <= set(points)
  assert len(set(points)) == len(points) < 69


def test_wandb_is_optional_and_told_when_missing(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "wandb", None)
  config = LoggingConfig(every=1, tensorboard=False, wandb_project="p")
  with pytest.raises(ConfigError, match="pip install wandb"):
    metrics.MetricLogger(tmp_path, config, 9)


def test_wandb_goes_on_under_its_id(tmp_path, monkeypatch):
  calls = []

  def init(**options):
    calls.append(options)
    return types.SimpleNamespace(
        id=options["id"] or "fresh", log=calls.append,
        define_metric=lambda *a, **k: None, finish=lambda: None)
  monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
  config = LoggingConfig(every=1, tensorboard=False, wandb_project="p")
  for start_step in (0, 3):
    with metrics.MetricLogger(tmp_path, config, 9, start_step) as logger:
      logger.log(start_step + 1, {"loss": 0.5})
  assert [c["id"] for c in calls if "id" in c] == [None, "fresh"]
  assert [(c["step"], c["loss"]) for c in calls if "loss" in c] == [
      (1, 0.5), (4, 0.5)]


@pytest.fixture
def bucket(monkeypatch):
  """gs:// and s3:// paths lead to a file system in memory."""
  memory = fsspec.filesystem("memory")
  monkeypatch.setattr(epath.backend._FileSystemSpecBackend, "_get_filesystem",
                      lambda self, name: memory)
  yield "gs://bucket"
  memory.store.clear()
  memory.pseudo_dirs[:] = [""]


def test_jsonl_in_a_bucket_cannot_append_and_need_not(bucket):
  path = epath.Path(bucket) / "run" / "metrics.jsonl"
  writer = metric_writers.JsonlWriter(path)
  for step in (1, 2, 3):
    writer.write(step, {"loss": 0.1 * step})
  writer.flush()
  assert len(path.read_text().splitlines()) == 3
  writer.write(4, {"loss": 0.4})
  writer.close()
  writer = metric_writers.JsonlWriter(path, start_step=2)
  writer.write(3, {"loss": 7.0})
  writer.close()
  assert metric_writers.read_jsonl(path) == [
      {"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2},
      {"step": 3, "loss": 7.0}]


# --- operations --------------------------------------------------------------


def test_flops_of_gpt2_small_by_hand():
  config = ModelConfig(
      vocab_size=50257, embed_dim=768, num_layers=12, num_heads=12,
      num_kv_heads=12, head_dim=64, mlp_dim=3072, max_seq_len=1024, mlp="gelu")
  weights = 12 * 12 * 768**2 + 50257 * 768  # 12 D^2 in each block, and the head
  assert flops.matmul_parameters(config) == weights == 123_532_032
  assert flops.flops_per_token(config, 1024) == (
      6 * weights + 6 * 12 * 768 * 1024)


@pytest.mark.parametrize("mlp, tied, kv_heads", [("swiglu", True, 2),
                                                 ("gelu", False, 8)])
def test_flops_agree_with_the_compiler(mlp, tied, kv_heads):
  config = ModelConfig(
      vocab_size=512, embed_dim=256, num_layers=1, num_heads=8,
      num_kv_heads=kv_heads, head_dim=32, mlp_dim=1024, max_seq_len=64,
      mlp=mlp, tie_embeddings=tied, attention="reference")
  params = jax.eval_shape(lambda key: init_params(key, config),
                          jax.random.key(0))
  tokens_BT = jax.ShapeDtypeStruct((4, 64), jnp.int32)
  compiled = jax.jit(lambda p, t: forward(p, t, config)[0]).lower(
      params, tokens_BT).compile()
  counted = compiled.cost_analysis()["flops"] / (4 * 64)
  # One third of training is forwards; the reference multiplies all of the
  # attention square, twice what we count.
  attention = 2 * config.num_heads * config.head_dim * 64
  expected = flops.flops_per_token(config, 64) / 3 + attention
  assert counted == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("kind, peak", [
    ("TPU v4", 275e12), ("TPU v5 lite", 197e12), ("TPU v5", 459e12),
    ("TPU v5p", 459e12), ("TPU v6 lite", 918e12),
    ("NVIDIA A100-SXM4-40GB", 312e12), ("NVIDIA H100 80GB HBM3", 989e12),
    ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989e12),
    ("cpu", None), ("NVIDIA GeForce RTX 4090", None)])
def test_peaks(kind, peak):
  assert flops.peak_flops(kind) == peak
