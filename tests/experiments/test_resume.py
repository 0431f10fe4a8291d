"""Killed and started again, a run is the run it would have been: bit by bit.

Each stage runs once without interruption, and once killed with SIGKILL and
started again, in processes of their own, on two devices. Losses, validations,
samples and final parameters must be equal, not close.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from llm_jax.config import TokenizerConfig
from llm_jax.metrics import TIMINGS
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.saved_models import load_params
from tests.fake_devices import xla_flags

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.slow

NUM_STEPS, SAVED = 10, 4  # checkpoints of steps 4, 8 and 10
KILL = {"pretrain": "step 6", "sft": "save 8", "rl": "step 7"}
WORDS = ("the of a model language text token learns reads writes long short "
         "green tree river stone over under because and then never").split()
# Time is what an interrupted run cannot repeat.
TIMES = (*TIMINGS, "seconds_rollout", "seconds_reward", "seconds_train")


def make_data(directory):
  rng = np.random.default_rng(0)
  def text(num_words):
    return " ".join(rng.choice(WORDS, num_words))
  with open(directory / "corpus.jsonl", "w") as file:
    for _ in range(60):
      file.write(json.dumps({"text": text(40)}) + "\n")
  with open(directory / "chats.jsonl", "w") as file:
    for _ in range(40):
      file.write(json.dumps({"prompt": text(3), "response": text(4)}) + "\n")
  train_bpe([text(2000)], TokenizerConfig(vocab_size=290)).save(
      directory / "tokenizer")


def flags_of(stage, data, workdir):
  """A tiny run of each stage, with every part that has a state of its own."""
  flags = [f"--workdir={workdir}", f"--num_steps={NUM_STEPS}",
           f"--checkpoint.every={SAVED}", "--logging.every=1",
           "--nologging.tensorboard", "--seed=3", "--mesh.data=1",
           "--mesh.fsdp=2", "--batch_size=4", "--eval_every=3",
           "--optimizer.warmup_steps=2"]
  if stage == "pretrain":
    return [*flags, f"--data.path={data}/corpus.jsonl",
            f"--data.tokenizer={data}/tokenizer", "--seq_len=32",
            "--data.validation_fraction=0.1", "--num_microbatches=2",
            "--model.embed_dim=32", "--model.num_layers=2",
            "--model.num_heads=4", "--model.num_kv_heads=2",
            "--model.head_dim=8", "--model.mlp_dim=48",
            "--model.max_seq_len=64", "--sample_tokens=4",
            "--optimizer.schedule=cosine"]
  if stage == "sft":
    return [*flags, f"--data.path={data}/chats.jsonl", "--seq_len=64",
            f"--init_from={data}/pretrain", "--data.validation_fraction=0.2",
            "--plateau_metric=file", "--plateau_patience=99",
            "--optimizer.schedule=wsd"]
  return [*flags, "--data.path=sums", f"--init_from={data}/sft",
          "--data.eval_problems=8", "--data.min_terms=2", "--data.max_terms=2",
          "--seq_len=48", "--sampling.max_new_tokens=12", "--group_size=2",
          "--objective.kl_coef=0.05", "--objective.advantages=gae",
          "--objective.importance_cap=2", "--updates_per_rollout=2"]


def start(stages, data):
  """A process that runs [(stage, workdir, where it is killed)]."""
  arguments = [[stage, flags_of(stage, data, workdir), kill]
               for stage, workdir, kill in stages]
  environment = os.environ | {
      "XLA_FLAGS": xla_flags(2, optimized=True),
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
      "JAX_COMPILATION_CACHE_DIR": str(data / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
  return subprocess.Popen(
      [sys.executable, ROOT / "tests/experiments/run_stages.py",
       json.dumps(arguments)], env=environment, cwd=data,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def records(workdir, name="metrics.jsonl"):
  lines = (pathlib.Path(workdir) / name).read_text().splitlines()
  return [{k: v for k, v in json.loads(line).items() if k not in TIMES}
          for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Both ways of all stages; what was on disk when each was killed."""
  data = tmp_path_factory.mktemp("runs")
  make_data(data)
  whole = start([(stage, data / stage, "") for stage in KILL], data)
  output, _ = whole.communicate(timeout=500)
  assert whole.returncode == 0, output[-4000:]
  killed = {stage: start([(stage, data / f"{stage}_killed", kill)], data)
            for stage, kill in KILL.items()}
  found = {}
  for stage, process in killed.items():
    output, _ = process.communicate(timeout=500)
    assert process.returncode == -9, output[-4000:]
    run = data / f"{stage}_killed"
    found[stage] = {"metrics": records(run),
                    "finished": (run / "results.json").exists()}
  again = start([(stage, data / f"{stage}_killed", "") for stage in KILL],
                data)
  output, _ = again.communicate(timeout=500)
  assert again.returncode == 0, output[-4000:]
  return data, found, output


def losses(metrics):
  return [(r["step"], r["loss"]) for r in metrics if "loss" in r]


@pytest.mark.parametrize("stage", KILL)
def test_it_was_killed_on_the_way(runs, stage):
  """Else the other tests would show nothing."""
  data, found, output = runs
  assert not found[stage]["finished"]
  steps = [step for step, _ in losses(found[stage]["metrics"])]
  assert SAVED < steps[-1] < NUM_STEPS
  resumed_at = [int(line.split("step ")[1].split()[0])
                for line in output.splitlines()
                if line.startswith(f"{stage}: resumed")]
  # A save that was cut short may have been whole already, or not.
  assert resumed_at in ([[4], [8]] if stage == "sft" else [[4]])


@pytest.mark.parametrize("stage", KILL)
def test_losses_are_bit_identical(runs, stage):
  data, _, _ = runs
  whole, resumed = (records(data / name)
                    for name in (stage, f"{stage}_killed"))
  assert [step for step, _ in losses(whole)] == list(range(1, NUM_STEPS + 1))
  assert losses(resumed) == losses(whole)
  assert len({loss for _, loss in losses(whole)}) > NUM_STEPS / 2
  assert resumed == whole  # gradients, validations, rewards: all of it
  assert records(data / f"{stage}_killed", "samples.jsonl") == records(
      data / stage, "samples.jsonl")


@pytest.mark.parametrize("stage", KILL)
def test_final_parameters_are_bit_identical(runs, stage):
  data, _, _ = runs
  leaves = []
  for name in (stage, f"{stage}_killed"):
    params, _, _ = load_params(str(data / name))
    leaves.append({str(path): np.asarray(x) for path, x in
                   flat(params)})
  before = dict((str(p), np.asarray(x)) for p, x in flat(
      load_params(str(data / stage / "checkpoints" / "8"))[0]))
  assert leaves[0].keys() == leaves[1].keys()
  for path, x in leaves[0].items():
    np.testing.assert_array_equal(x, leaves[1][path], err_msg=path)
  assert any(not np.array_equal(x, before[path])
             for path, x in leaves[0].items())


def flat(params):
  import jax
  return jax.tree_util.tree_leaves_with_path(params)


@pytest.mark.parametrize("stage", KILL)
def test_results_are_the_same(runs, stage):
  data, _, _ = runs
  results = [json.loads((data / name / "results.json").read_text())
             for name in (stage, f"{stage}_killed")]
  for result in results:
    assert result.pop("seconds") > 0
  assert results[0] == results[1]


def test_each_stage_began_with_a_fresh_optimiser(runs):
  """--init_from takes parameters only: step 1 follows, at the first rate."""
  data, _, _ = runs
  for stage in ("sft", "pretrain"):
    rates = {r["step"]: r["learning_rate"] for r in records(data / stage)
             if "learning_rate" in r}
    assert rates[1] == pytest.approx(rates[2] / 2)  # two steps of warm-up
  base = load_params(str(data / "pretrain"))[0]
  tuned = load_params(str(data / "sft"))[0]
  distance = max(np.abs(np.asarray(a) - np.asarray(b)).max()
                 for (_, a), (_, b) in zip(flat(base), flat(tuned)))
  assert 0 < distance < 0.1  # ten small steps away from where it began
