"""Reinforcement learning that is killed is what it would have been, bit by bit.

One run is left alone. Another, by the same command, is killed with SIGKILL
while it samples, while it scores, while it trains and while it saves, and
started again each time. Rewards, losses, samples and parameters must be equal,
not close.
"""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from llm_jax.config import ModelConfig, TokenizerConfig
from llm_jax.metrics import TIMINGS
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.saved_models import load_params, save_params

ROOT = pathlib.Path(__file__).parents[2]
NUM_STEPS = 7  # checkpoints of steps 2, 4, 6 and 7
KILLS = ("rollout 4", "reward 4", "train 6", "save 6")
# Time is what an interrupted run cannot repeat.
TIMES = (*TIMINGS, "seconds_rollout", "seconds_reward", "seconds_train")
VARIANTS = {
    "plain": [],
    "ahead": ["--ahead"],
    "refilled": ["--refill_rounds=2", "--shuffle_rewards=batch"],
    "curriculum": ["--ahead", "--data.max_terms=3",
                   "--data.curriculum.kind=adaptive",
                   "--data.curriculum.window=12",
                   "--data.curriculum.raise_at=0.1",
                   "--data.curriculum.lower_at=0"],
    "adapter": ["--lora.rank=2", "--ahead"],
    "reference": ["--objective.kl_coef=0.05", "--updates_per_rollout=2"],
    "critic": ["--objective.advantages=gae", "--objective.kl_coef=0.05",
               "--objective.kl_in=reward"],
}


def make_model(directory):
  """A model that knows nothing."""
  tokenizer = train_bpe(["What is the sum of 1 and 2, modulo 2?"] * 4,
                        TokenizerConfig(vocab_size=280))
  model = ModelConfig(
      vocab_size=tokenizer.vocab_size, embed_dim=16, num_layers=1, num_heads=2,
      num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=64)
  params = jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=model)
  save_params(str(directory / "first"), params, model, tokenizer, "sft")


def run(data, name, variant, kill=""):
  """(exit code, output) of a process that may be killed."""
  flags = [f"--workdir={data / name}", f"--init_from={data / 'first'}",
           f"--num_steps={NUM_STEPS}", "--checkpoint.every=2", "--seed=3",
           "--logging.every=1", "--nologging.tensorboard", "--eval_every=3",
           "--batch_size=2", "--group_size=4", "--seq_len=64",
           "--sampling.max_new_tokens=8", "--data.eval_problems=4",
           "--data.min_terms=2", "--data.max_terms=2",
           "--optimizer.warmup_steps=1", *VARIANTS[variant]]
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
      "JAX_COMPILATION_CACHE_DIR": str(data / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
  done = subprocess.run(
      [sys.executable, ROOT / "tests/experiments/run_rl.py", json.dumps(flags),
       kill], env=environment, cwd=data, stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, text=True, timeout=1800)
  return done.returncode, done.stdout


def records(workdir, name):
  return [{k: v for k, v in json.loads(line).items() if k not in TIMES}
          for line in (workdir / name).read_text().splitlines()]


def leaves(workdir):
  params, _, _ = load_params(str(workdir))
  return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


@pytest.mark.parametrize("variant", [
    pytest.param(name, marks=() if name == "plain" else pytest.mark.slow)
    for name in VARIANTS])
def test_a_killed_run_is_the_run_it_would_have_been(tmp_path, variant):
  make_model(tmp_path)
  code, output = run(tmp_path, "whole", variant)
  assert code == 0, output[-4000:]
  resumed = []
  for kill in (*KILLS, ""):
    code, output = run(tmp_path, "killed", variant, kill)
    assert code == (-9 if kill else 0), (kill, output[-4000:])
    resumed += [int(line.split("step ")[1].split()[0])
                for line in output.splitlines()
                if line.startswith(("rl: resumed", "rl: init_from"))]
    if kill:
      assert not (tmp_path / "killed" / "results.json").exists()
  # A save that was cut short may have been whole already, or not.
  assert len(resumed) == len(KILLS) + 1 and resumed[0] == 0
  assert resumed[1] in (0, 2) and resumed[-1] in (4, 6)
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  for name in ("metrics.jsonl", "samples.jsonl", "rollouts.jsonl",
               "rewards.jsonl"):
    assert records(killed, name) == records(whole, name), name
  curve = [r["reward"] for r in records(whole, "metrics.jsonl")
           if "reward" in r]
  assert len(curve) == NUM_STEPS and len(set(curve)) > NUM_STEPS / 2
  for before, after in zip(leaves(whole), leaves(killed), strict=True):
    np.testing.assert_array_equal(before, after)
  assert any((a != b).any() for a, b in zip(
      leaves(whole), leaves(whole / "checkpoints" / "6"), strict=True))
  results = [json.loads((directory / "results.json").read_text())
             for directory in (whole, killed)]
  for result in results:
    assert result.pop("seconds") > 0
  assert results[0] == results[1]
