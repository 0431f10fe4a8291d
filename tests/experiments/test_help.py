"""--help of every experiment: at once, whole, and without JAX."""

import importlib
import os
import pathlib
import re
import resource
import subprocess
import sys

import pytest

from llm_jax import config
from llm_jax.config_tree import leaves

ROOT = pathlib.Path(__file__).parents[2]
EXPERIMENTS = sorted(p.stem for p in (ROOT / "experiments").glob("*.py")
                     if p.stem != "__init__")
HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "grain", "tiktoken",
         "tokenizers", "torch")


def config_class(name):
  """TrainTokenizerConfig for train_tokenizer."""
  return getattr(config, "".join(map(str.title, name.split("_"))) + "Config")


def test_there_is_one_for_each_stage():
  assert {"train_tokenizer", "tokenize_corpus", "pretrain", "sft", "rl",
          "evaluate", "chat", "quickstart"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help(name):
  def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
  before = processor_seconds()
  result = subprocess.run(
      [sys.executable, "-X", "importtime", "-m", f"experiments.{name}",
       "--help"], cwd=ROOT, capture_output=True, text=True,
      # A device that does not exist: whoever touches it fails.
      env=os.environ | {"JAX_PLATFORMS": "none_such"})
  assert result.returncode == 0, result.stderr[-2000:]
  assert processor_seconds() - before < 5
  imported = set(re.findall(r"\|\s+(\w+)(?:\.\w+)*$", result.stderr, re.M))
  assert "llm_jax" in imported and not imported & set(HEAVY)
  for leaf in leaves(config_class(name)):
    assert f"--{leaf.name}=" in result.stdout
    first_words = " ".join(leaf.help.split()[:4])
    assert first_words in " ".join(result.stdout.split()), leaf.name
  assert importlib.import_module(f"experiments.{name}").__doc__.split(
      "\n")[0] in result.stdout


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_misspelt_flag_names_the_nearest(name):
  leaf = leaves(config_class(name))[-1].name
  misspelt = leaf[:-2] + leaf[-1]
  result = subprocess.run(
      [sys.executable, "-m", f"experiments.{name}", f"--{misspelt}=1"],
      cwd=ROOT, capture_output=True, text=True)
  assert result.returncode == 2
  assert f"did you mean --{leaf}" in result.stderr
  assert "Traceback" not in result.stderr and not result.stdout
