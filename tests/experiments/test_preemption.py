"""SIGTERM: the run saves, exits with a code of its own, and goes on later.

The test of two processes, which must agree on the step, is in test_survival.py.
"""

import json
import signal

import pytest

from experiments import pretrain, sft
from llm_jax.config import TokenizerConfig
from llm_jax.metrics import TIMINGS, MetricLogger
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training import preemption
from tiny_runs import TINY_MODEL

STEPS, EVERY = 6, 3
RUN = (f"--num_steps={STEPS}", f"--eval_every={EVERY}", "--batch_size=8",
       "--checkpoint.every=50", "--logging.every=1", "--nologging.tensorboard",
       "--optimizer.warmup_steps=2", "--seed=3")


@pytest.fixture
def send_at(monkeypatch):
  """send_at(step, signals): this process gets them when `step` runs."""
  log, before = MetricLogger.log, signal.getsignal(signal.SIGTERM)

  def arrange(at, *signals):
    def log_and_send(self, step, metrics):
      log(self, step, metrics)
      if step == at:
        for number in signals:
          signal.raise_signal(number)
    monkeypatch.setattr(MetricLogger, "log", log_and_send)
  yield arrange
  assert signal.getsignal(signal.SIGTERM) == before


def records(run):
  return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS}
          for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def data(files, tmp_path_factory):
  directory = tmp_path_factory.mktemp("data")
  text = (files / "book.txt").read_text()
  train_bpe([text], TokenizerConfig(vocab_size=290)).save(
      directory / "tokenizer")
  return files, directory / "tokenizer"


def flags_of(stage, data, base):
  files, tokenizer = data
  if stage is pretrain:
    return (*RUN, *TINY_MODEL, f"--data.path={files}/texts.jsonl",
            f"--data.tokenizer={tokenizer}", "--seq_len=16",
            "--sample_tokens=0", "--data.validation_fraction=0.1")
  return (*RUN, f"--init_from={base}", f"--data.path={files}/chats.jsonl",
          "--seq_len=48", "--data.validation_fraction=0.2",
          "--plateau_metric=file", "--plateau_patience=9")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  """Where the pretraining that nobody stops is, which finetuning needs."""
  return tmp_path_factory.mktemp("runs") / "base"


@pytest.mark.parametrize("stage", [
    pretrain, pytest.param(sft, marks=pytest.mark.slow)],
    ids=["pretrain", "sft"])
def test_it_stops_saves_and_goes_on(command, data, base, send_at, tmp_path,
                                    stage):
  """At a step whose evaluation is due: it is made up for when going on."""
  flags = flags_of(stage, data, base)
  if stage is sft and not base.exists():
    code, _, err = command(pretrain, *flags_of(pretrain, data, base),
                           f"--workdir={base}")
    assert code == 0, err
  whole = base if stage is pretrain else tmp_path / "whole"
  code, out, err = command(stage, *flags, f"--workdir={whole}")
  assert code == 0, err
  run = tmp_path / "run"
  send_at(EVERY, signal.SIGTERM, signal.SIGTERM)
  code, out, err = command(stage, *flags, f"--workdir={run}")
  assert code == preemption.EXIT_CODE == 75, err
  assert "SIGTERM: this step is finished" in out
  assert f"stopped at step {EVERY}, which is saved" in out
  assert [p.name for p in (run / "checkpoints").iterdir()] == [str(EVERY)]
  assert not (run / "results.json").exists()
  assert [r["step"] for r in records(run) if "loss" in r] == [1, 2, 3]
  assert len(records(run)) == EVERY + 1  # no time for the evaluation
  send_at(-1)
  code, out, err = command(stage, *flags, f"--workdir={run}")
  assert code == 0, err
  assert f"resumed, step {EVERY} of {STEPS}" in out
  assert records(run) == records(whole)


def test_at_the_last_step_it_simply_ends(command, data, base, send_at,
                                         tmp_path):
  send_at(STEPS, signal.SIGTERM)
  code, _, err = command(pretrain, *flags_of(pretrain, data, base),
                         f"--workdir={tmp_path}/run")
  assert code == 0, err
  assert (tmp_path / "run/results.json").exists()


@pytest.fixture
def python_interrupts():
  """As in a terminal; what runs in the background may have SIGINT ignored."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


def test_the_second_interrupt_is_not_waited_for(python_interrupts):
  with pytest.raises(KeyboardInterrupt):
    with preemption.StopSignals() as signals:
      signal.raise_signal(signal.SIGINT)
      assert signals.stop_after(1)
      signal.raise_signal(signal.SIGINT)
      pytest.fail("not reached")
  assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_nothing_is_sent_nothing_is_stopped():
  with preemption.StopSignals() as signals:
    assert not any(signals.stop_after(step) for step in range(3))
