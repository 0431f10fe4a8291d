"""experiments/think.py: the manners by hand, and a run of the smallest size."""

import json

import pytest

from experiments import think
from llm_jax.config import ConfigError
from llm_jax.config_think import ThinkTaskConfig
from llm_jax.data.manners import Manner, check_manner, manners, read_answer
from llm_jax.data.sums import SumProblem
from tiny_runs import TINY_MODEL

PROBLEM = SumProblem((7, 8, 5, 9))


def test_the_manners_by_hand():
  made = {m.name: m.demonstration(PROBLEM) for m in manners(
      ThinkTaskConfig(min_terms=4, strides=(1, 2, 3)))}
  assert list(made.items()) == [
      ("answer first", "#### 1\n1,1,0,1"), ("filler", "0,0,0,0\n#### 1"),
      ("every 3rd step", "0\n#### 1"), ("every 2nd step", "1,1\n#### 1"),
      ("each step", "1,1,0,1\n#### 1")]
  # As many tokens, in another order.
  assert sorted(made["answer first"]) == sorted(made["each step"])
  assert Manner("", 4).demonstration(PROBLEM) == "1\n#### 1"


@pytest.mark.parametrize("text, stated, before", [
    ("1,1,0,1\n#### 1", 1, "1,1,0,1"), ("#### 0\n1,1", 0, ""),
    ("#### 0\n#### 1", None, "#### 0\n#### 1"), ("1,1", None, "1,1"),
    ("so #### 1", None, "so #### 1"), ("#### 1x", None, "#### 1x"),
    ("", None, "")])
def test_reading_an_answer(text, stated, before):
  assert read_answer(text) == (stated, before)


def test_settings_that_cannot_work():
  for changes, sentence in (({"strides": (2,)}, "1 among them"),
                            ({"strides": (1, 1)}, "twice"),
                            ({"strides": (1, 8)}, "not below"),
                            ({"eval_problems": 1}, "at least 2")):
    with pytest.raises(ConfigError, match=sentence):
      ThinkTaskConfig(**changes).validate()
  with pytest.raises(ConfigError, match="may take 28; raise it"):
    check_manner(ThinkTaskConfig(), 20)


@pytest.mark.slow
def test_two_manners_of_a_tiny_model(tmp_path, command):
  """Everything is written, and a second start does nothing again."""
  flags = (f"--workdir={tmp_path}/think", *TINY_MODEL, "--vocab_size=270",
           "--task.min_terms=3", "--task.max_terms=4", "--task.strides=1",
           "--notask.filler", "--task.train_problems=64",
           "--task.eval_problems=6", "--recipe.num_steps=2",
           "--recipe.batch_size=8", "--recipe.seq_len=64",
           "--recipe.eval_every=0", "--norecipe.logging.tensorboard",
           "--max_new_tokens=20")
  code, told, errors = command(think, *flags)
  assert code == 0, errors
  report = json.loads((tmp_path / "think" / "think.json").read_text())
  assert [row["manner"] for row in report["rows"]] == ["answer first",
                                                       "each step"]
  assert {row["training_tokens"] for row in report["rows"]} == {2 * 8 * 64}
  assert report["problems"] == 6 and len(report["differences"]) == 1
  page = (tmp_path / "think" / "think.html").read_text()
  assert "tokens before the answer" in page
  code, told, errors = command(think, *flags)
  assert code == 0 and told.count("finished already") == 2
  assert json.loads(
      (tmp_path / "think" / "think.json").read_text()) == report
  code, told, errors = command(think, *flags, "--recipe.plateau_metric=file")
  assert code == 2 and "equally many steps" in errors
