"""Each trouble is told by name, once, and a sound step is not blamed."""

import dataclasses

import numpy as np
import pytest

from llm_jax.rl.collector import Collected
from llm_jax.rl.diagnostics import Diagnostics
from llm_jax.rl.rollouts import Rollouts


def collected(rewards=(0, 1, 0, 1), stopped=(True, False, True, True), mask=1.0,
              faults=(), sampled_after=0, **metrics):
  rows = np.full((4, 3), mask, np.float32)
  rewards = np.array(rewards, np.float32)
  told = {"zero_variance": 0.5, "faulty": 0.0, "entropy": 1.0, **metrics}
  return Collected(
      Rollouts(rows.astype(np.int32), rows.astype(np.int32), rows, rows,
               rewards, rewards, np.ones(4, bool), np.ones(4, np.int32),
               np.array(stopped)),
      told, [], 0, sampled_after, faults)


def test_a_sound_step_is_not_blamed():
  diagnostics = Diagnostics()
  for step in (1, 2, 3):
    assert diagnostics.look(step, collected(sampled_after=step - 1), 1e-6) == []


@pytest.mark.parametrize("trouble, told", [
    (dict(rewards=[1, 1, 1, 1], zero_variance=1.0), "all 4 rewards are 1"),
    (dict(rewards=[1, 1, 0, 0], zero_variance=1.0), "of each prompt all have"),
    (dict(stopped=[False] * 4), "max_new_tokens"),
    (dict(mask=0.0), "mask is empty"),
])
def test_a_trouble_is_told_once(trouble, told, capsys):
  diagnostics = Diagnostics()
  import re
  found = diagnostics.look(4, collected(**trouble))
  assert len(found) == 1 and re.search(told, found[0])
  assert found[0].startswith("step 4: ") and found[0] in capsys.readouterr().out
  assert diagnostics.look(5, collected(**trouble)) == []


def test_faults_are_told_by_what_happened():
  def look(diagnostics, *faults, share=0.25):
    return diagnostics.look(3, collected(faults=faults, faulty=share))
  diagnostics = Diagnostics()
  first = look(diagnostics, "reward mine.py:f: KeyError: 'x'; at row 3, ...")
  assert len(first) == 1 and "KeyError: 'x'; at row 3" in first[0]
  assert "rewards.on_error" in first[0]
  # The same at another sample is no news, another reason is.
  assert look(diagnostics, "reward mine.py:f: KeyError: 'x'; at row 0") == []
  again = look(diagnostics, "reward mine.py:f: it hung; at row 0", share=1.0)
  assert "failed on every sample" in again[0] and "it hung" in again[1]


def test_two_policies_where_there_should_be_one():
  assert "importance_cap" in Diagnostics().look(1, collected(), 0.3)[0]
  # Ahead, the sampler's policy is meant to be another.
  assert Diagnostics().look(2, collected(), 0.3) == []


def test_entropy_collapses_against_where_it_began():
  diagnostics = Diagnostics()
  assert diagnostics.look(1, collected(entropy=1.2)) == []
  assert diagnostics.look(2, collected(entropy=0.2)) == []
  assert "from 1.2 to 0.01" in diagnostics.look(3, collected(entropy=0.01))[0]
  # What began sure of itself has not collapsed.
  sure = Diagnostics()
  assert sure.look(1, collected(entropy=0.03)) == []
  assert sure.look(2, collected(entropy=0.02)) == []


def test_settings_that_are_named_exist():
  from llm_jax.config import RlConfig, SamplingConfig
  fields = {f.name for f in dataclasses.fields(RlConfig)}
  assert {"group_size", "sampling", "refill_rounds", "seq_len"} <= fields
  assert {"temperature", "max_new_tokens"} <= {
      f.name for f in dataclasses.fields(SamplingConfig)}
