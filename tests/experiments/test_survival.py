"""A run that is killed again and again is still the run it would have been.

200 steps, cut short at random steps by SIGKILL and started again by the same
command: in one process or two, which talk over loopback, and on one mesh or
another, always over four devices. A run that keeps its layout has, bit for
bit, the losses of one that nobody kills; one that changes it has them within
what the order of sums in float32 makes of them. Every run reads the rows that
the uninterrupted one reads, each in the same step: none twice, none not at all.
"""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import tokenize_corpus
from llm_jax.config import TextConfig, TokenizeCorpusConfig, TokenizerConfig
from llm_jax.data.packing import num_windows
from llm_jax.data.token_shards import TokenShards
from llm_jax.tokenizer.bpe import train_bpe
from tests.fake_devices import xla_flags
from tiny_runs import TINY_MODEL, words, write_jsonl

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
NUM_STEPS, EVERY, BATCH, SEQ_LEN, DEVICES = 200, 10, 8, 16, 4
EARLY, EARLY_BOUND, BOUND = 5, 1e-5, 1e-3  # relative differences of losses
TIMEOUT = 300


@dataclasses.dataclass(frozen=True)
class Layout:
  """In how many processes, and over which axes of the mesh."""
  processes: int
  mesh: tuple[str, ...]


FSDP = ("--mesh.data=1", "--mesh.fsdp=4")
DATA_TENSOR = ("--mesh.data=2", "--mesh.fsdp=1", "--mesh.tensor=2")
ONE, TWO = Layout(1, FSDP), Layout(2, DATA_TENSOR)
# Each twice in a row: what was lost is then once repeated as it was, and once
# on another layout.
CHANGING = [layout for layout in (
    ONE, TWO, Layout(1, DATA_TENSOR), Layout(2, FSDP)) for _ in range(2)]


def kill_steps(seed, number):
  """Different random steps, ascending."""
  rng = np.random.default_rng(seed)
  return sorted(rng.choice(np.arange(3, NUM_STEPS), number, replace=False)
                .tolist())


def flags_of(data, workdir, layout):
  return [f"--workdir={workdir}", f"--data.path={data}/shards", *TINY_MODEL,
          f"--num_steps={NUM_STEPS}", f"--checkpoint.every={EVERY}",
          f"--batch_size={BATCH}", f"--seq_len={SEQ_LEN}", "--seed=3",
          "--eval_every=0", "--eval_batches=1", "--sample_tokens=0",
          "--optimizer.warmup_steps=2", "--logging.every=1",
          "--nologging.tensorboard", "--logging.examples", *layout.mesh]


def free_port():
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


def start(data, workdir, layout, event="", hit=0):
  """The processes of a run; `event` befalls process `hit` of them."""
  environment = os.environ | {
      "XLA_FLAGS": xla_flags(DEVICES // layout.processes),
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
      "JAX_COMPILATION_CACHE_DIR": str(data / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
  coordinator = f"127.0.0.1:{free_port()}"
  started = []
  for i in range(layout.processes):
    flags = flags_of(data, workdir, layout)
    if layout.processes > 1:
      flags += [f"--distributed.coordinator={coordinator}",
                f"--distributed.num_processes={layout.processes}",
                f"--distributed.process_id={i}"]
    arguments = [["pretrain", flags, event if i == hit else ""]]
    output = open(workdir.with_name(f"{workdir.name}.{i}.out"), "w+")
    started.append((subprocess.Popen(
        [sys.executable, ROOT / "tests/experiments/run_stages.py",
         json.dumps(arguments)], env=environment, cwd=data,
        stdout=output, stderr=subprocess.STDOUT), output))
  return started


def end(started):
  """(exit codes, outputs). Where one is killed, the others are killed then, as
  by the scheduler of a cluster."""
  processes = [process for process, _ in started]
  until = time.monotonic() + TIMEOUT
  while any(process.poll() is None for process in processes):
    if (time.monotonic() > until
        or any(process.poll() == -9 for process in processes)):
      for process in processes:
        process.kill()
        process.wait()
    time.sleep(0.02)
  outputs = []
  for _, output in started:
    output.seek(0)
    outputs.append(output.read())
    output.close()
  return [process.returncode for process in processes], outputs


def read(workdir, name):
  """{step: record}; half a line, as a kill leaves it, is no record."""
  found = {}
  for line in (workdir / name).read_text().splitlines():
    try:
      record = json.loads(line)
    except json.JSONDecodeError:
      continue
    assert (record["step"] not in found or "loss" not in record
            or "loss" not in found[record["step"]]), "a step twice in the file"
    found[record["step"]] = found.get(record["step"], {}) | record
  return found


def losses(workdir):
  return {step: record["loss"]
          for step, record in read(workdir, "metrics.jsonl").items()
          if "loss" in record}


@dataclasses.dataclass
class Interruption:
  """What an end before the last step left, and where the next start began."""
  event: str
  lost: dict[int, float]  # losses on disk then
  rows: dict[int, list[int]]
  resumed_at: int
  same_layout: bool


def run_with(data, name, events, layouts):
  """A run that `events` interrupt, and what each of them left."""
  workdir, found = data / name, []
  for i, event in enumerate((*events, "")):
    layout = layouts[i % len(layouts)]
    codes, outputs = end(start(data, workdir, layout, event,
                               i % layout.processes))
    expected = {"now": -9, "term": 75, "": 0}[event.split(" ")[0]]
    assert codes == [expected] * layout.processes, (
        f"{codes} after {event!r}: {outputs[0][-3000:]}")
    if found:
      found[-1].resumed_at = int(
          outputs[0].split("pretrain: ")[-1].split("step ")[1].split()[0])
      found[-1].same_layout = layout == layouts[(i - 1) % len(layouts)]
    if event:
      found.append(Interruption(
          event, losses(workdir),
          {step: record["rows"] for step, record in
           read(workdir, "examples.jsonl").items()}, 0, False))
  return workdir, found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """Token shards of some 900 rows: the run sees each once, then some again."""
  directory = tmp_path_factory.mktemp("survival")
  rng = np.random.default_rng(0)
  texts = [words(rng, 40) for _ in range(150)]
  train_bpe(texts, TokenizerConfig(vocab_size=290)).save(
      directory / "tokenizer")
  tokenize_corpus.run(TokenizeCorpusConfig(
      data=TextConfig(path=str(write_jsonl(
          directory / "corpus.jsonl", [{"text": t} for t in texts])),
          validation_fraction=0.05),
      tokenizer=str(directory / "tokenizer"),
      output=str(directory / "shards")))
  return directory


@pytest.fixture(scope="module")
def whole(data):
  """Runs that nobody interrupts, of a process and of two."""
  return {layout: run_with(data, f"whole_{layout.processes}", (), [layout])[0]
          for layout in (ONE, TWO)}


def difference(found, expected):
  """Largest relative differences: of the first steps, and of all."""
  relative = {step: abs(loss / expected[step] - 1)
              for step, loss in found.items()}
  return (max((d for step, d in relative.items() if step <= EARLY),
              default=0.0), max(relative.values(), default=0.0))


def check_examples(data, workdir, interruptions):
  """No row is skipped, and none is read twice before all are."""
  rows_of = {step: record["rows"] for step, record in
             read(workdir, "examples.jsonl").items()}
  assert list(rows_of) == list(range(1, NUM_STEPS + 1))
  seen = [row for rows in rows_of.values() for row in rows]
  assert len(seen) == NUM_STEPS * BATCH
  shards = TokenShards.open(str(data / "shards"))
  total = num_windows(len(shards.tokens("train")), SEQ_LEN)
  assert NUM_STEPS * BATCH / 2 < total < NUM_STEPS * BATCH
  assert sorted(seen[:total]) == list(range(total))
  again = seen[total:]
  assert len(set(again)) == len(again)
  # Steps whose work was lost had read what they read again.
  for found in interruptions:
    assert found.rows.items() <= rows_of.items()
    assert len(found.rows) >= found.resumed_at
  return total


def report(title, interruptions, bounds=()):
  """Prints what happened, for who runs this with -s."""
  repeated = sum(len(found.lost) - found.resumed_at for found in interruptions)
  print(f"\n{title}: ended at "
        + ", ".join(f"{found.event} (on from {found.resumed_at})"
                    for found in interruptions)
        + f"; {repeated} steps repeated" + "".join(
            f"; {name} {value:.2g}" for name, value in bounds))


@pytest.mark.parametrize("layout, events", [
    (ONE, [f"now {step}" for step in kill_steps(1, 5)]),
    (TWO, [*(f"now {step}" for step in kill_steps(2, 5)[:3]), "term 160"])],
    ids=["one process", "two processes"])
def test_a_run_that_keeps_its_layout_has_the_same_bits(data, whole, layout,
                                                       events):
  name = f"killed_{layout.processes}"
  workdir, interruptions = run_with(data, name, events, [layout])
  expected = losses(whole[layout])
  assert list(expected) == list(range(1, NUM_STEPS + 1))
  assert losses(workdir) == expected
  for found in interruptions:
    assert found.lost.items() <= expected.items()
    step = int(found.event.split()[1])
    if found.event.startswith("term"):
      # The processes have agreed on a step, and lost none. How soon depends on
      # how fast the steps are beside the signal's way through the coordinator.
      assert step <= found.resumed_at == len(found.lost) < NUM_STEPS
    else:
      # One of two processes may have come to log the step before it is killed.
      assert step - 1 <= len(found.lost) <= step - 2 + layout.processes
      assert found.resumed_at in (step - step % EVERY,  # or it was cut short
                                  max(step - step % EVERY - EVERY, 0))
  total = check_examples(data, workdir, interruptions)
  report(f"{layout.processes} process(es), {total} rows", interruptions)


def test_a_run_that_changes_its_layout_stays_within_rounding(data, whole):
  events = [f"now {step}" for step in kill_steps(3, 10)]
  workdir, interruptions = run_with(data, "changing", events, CHANGING)
  expected, found = losses(whole[ONE]), losses(workdir)
  assert list(found) == list(range(1, NUM_STEPS + 1))
  early, late = difference(found, expected)
  same, other = 0, []
  later = [cut.lost for cut in interruptions[1:]] + [found]
  for cut, after in zip(interruptions, later):
    lost = {step: loss for step, loss in cut.lost.items()
            if step > cut.resumed_at}
    again = {step: after[step] for step in lost}
    if cut.same_layout:
      assert again == lost
      same += len(lost)
    else:
      other.append(difference(again, lost)[1])
  total = check_examples(data, workdir, interruptions)
  report(f"changing layouts, {total} rows", interruptions, [
      (f"relative difference of the first {EARLY} steps", early),
      ("of all", late), ("of steps repeated on another layout", max(other)),
      ("steps repeated bit for bit on the same one", same)])
  assert early < EARLY_BOUND and late < BOUND
  assert len(other) == 5 and same > 0
