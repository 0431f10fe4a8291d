"""Which problems a step takes, which groups stay, whose rewards they get."""

import numpy as np
import pytest

from llm_jax.config import (
    CurriculumConfig, RewardsConfig, RlConfig, SamplingConfig)
from llm_jax.rl import collector as collector_lib
from llm_jax.rl.collector import Collector
from llm_jax.rl.curriculum import Curriculum
from llm_jax.rl.environments.protocol import Completion, Problem
from llm_jax.rl.rewards.faults import Fault
from llm_jax.rl.rewards.scorer import Scores, make_scorer
from llm_jax.rl.scoring import shuffled
from llm_jax.rl.traces import Trace
from tiny_policy import Echo

P, G = 4, 3


class Numbered(Echo):
  """Problem n is "n"; every third one is informative, with rewards 0, 1, 2."""

  def train_problems(self, step, num_problems):
    return [Problem(str(step * num_problems + i)) for i in range(num_problems)]

  def score(self, problem, completion):
    return float(completion.tokens if int(problem.prompt) % 3 == 0 else 1)


def of_task(environment):
  return make_scorer(environment, RewardsConfig())


@pytest.fixture
def make(monkeypatch):
  """A collector whose samples are made up; the rows that were asked for."""
  asked = []

  def fake(params, problems, environment, tokenizer, sampling, model, *,
           samples_per_prompt, first_row, **options):
    asked.append((first_row, [int(p.prompt) for p in problems]))
    return [Trace([1, 7, 2], [False, True, True], [0.0, -1.0, -2.0],
                  Completion("a", True, tokens=g,
                             messages=({"role": "assistant", "content": "a"},)))
            for _ in problems for g in range(samples_per_prompt)]
  monkeypatch.setattr(collector_lib, "play", fake)

  def of(environment=None, scorer=None, curriculum_of=Curriculum, **settings):
    environment = environment or Numbered()
    config = RlConfig(batch_size=P, group_size=G, seq_len=4,
                      sampling=SamplingConfig(max_new_tokens=2), **settings)
    curriculum = curriculum_of(environment, CurriculumConfig(), 0)
    return Collector(curriculum, scorer or of_task(environment), None, None,
                     config), asked
  return of


def test_groups_without_a_difference_are_replaced(make):
  collector, asked = make(refill_rounds=8, kept_rollouts=99)
  made = collector.collect(None, 1, 10, 0)
  # Of 10..13 only 12 stays; the three lacking come from 14 on, and so forth.
  assert asked == [(0, [10, 11, 12, 13]), (4 * G, [14, 15, 16]),
                   (7 * G, [17, 18]), (9 * G, [19]), (10 * G, [20]),
                   (11 * G, [21])]
  kept = list(dict.fromkeys(r["problem"] for r in made.records))
  assert kept == [12, 15, 18, 21]
  assert 0 <= made.metrics["decode_wasted"] <= 1
  assert made.next_problem == 22 and made.metrics["problems"] == 12
  assert made.metrics["zero_variance"] == 8 / 12
  assert made.rollouts.loss_mask_BT.sum() == P * G * 2


def test_what_is_lacking_in_the_end_is_not_trained_on(make):
  collector, _ = make(refill_rounds=1, kept_rollouts=99)
  made = collector.collect(None, 1, 10, 0)
  numbers = list(dict.fromkeys(r["problem"] for r in made.records))
  assert numbers == [12, 15, 10, 11] and made.next_problem == 17
  trained_B = made.rollouts.loss_mask_BT.any(axis=1)
  assert trained_B.tolist() == [True] * 2 * G + [False] * 2 * G
  assert made.rollouts.valid_B.tolist() == trained_B.tolist()


def test_every_problem_is_used_once(make):
  collector, asked = make(refill_rounds=2)
  position = 0
  for step in range(1, 6):
    position = collector.collect(None, step, position, step - 1).next_problem
  used = [number for _, numbers in asked for number in numbers]
  assert used == list(range(position)) and position > 5 * P


def test_without_refilling_each_group_stays(make):
  collector, asked = make()
  made = collector.collect(None, 1, 8, 0)
  assert asked == [(0, [8, 9, 10, 11])] and made.next_problem == 12
  assert made.rollouts.loss_mask_BT.sum() == P * G * 2
  assert np.count_nonzero(made.rollouts.rewards_B != 1) == 2  # 0 and 2 of 9


def test_samples_that_were_cut_off_are_compared_and_not_trained_on(
    make, monkeypatch):
  class Cut(Numbered):
    def score(self, problem, completion):
      return float(completion.tokens)

  whole, _ = make(Cut())
  cut, _ = make(Cut(), mask_truncated=True)
  wanted, made = (c.collect(None, 1, 8, 0).rollouts for c in (whole, cut))
  np.testing.assert_array_equal(made.loss_mask_BT, wanted.loss_mask_BT)
  stopped = np.arange(P * G) % G != 1
  lay_out = collector_lib.lay_out
  monkeypatch.setattr(collector_lib, "lay_out", lambda *given: lay_out(
      *given).replace(stopped_B=stopped))
  made = cut.collect(None, 1, 8, 0).rollouts
  np.testing.assert_array_equal(made.loss_mask_BT,
                                wanted.loss_mask_BT * stopped[:, None])
  assert made.valid_B.all() and (made.rewards_B == wanted.rewards_B).all()


def test_the_curriculum_hears_of_every_sample(make):
  heard = []

  class Hearing(Curriculum):
    level = 3

    def observe(self, problems, correct_B):
      heard.append(([int(p.prompt) for p in problems], correct_B.tolist()))

  collector, _ = make(refill_rounds=1, curriculum_of=Hearing)
  made = collector.collect(None, 1, 10, 0)
  assert made.metrics["level"] == 3
  (numbers, correct), = heard
  assert sorted(numbers) == sorted([*range(10, 17)] * G)
  assert all(c == 1 for n, c in zip(numbers, correct) if n % 3)
  assert sorted(c for n, c in zip(numbers, correct) if n == 12) == [0, 1, 2]


def test_the_parts_of_a_mixture_are_told_apart(make):
  class Mixed(Numbered):
    def train_problems(self, step, num_problems):
      return [Problem(p.prompt, columns={"task": "odd" if i % 2 else "even"})
              for i, p in enumerate(super().train_problems(
                  step, num_problems))]

  collector, _ = make(Mixed())
  metrics = collector.collect(None, 1, 12, 0).metrics  # 12 and 15 are others
  np.testing.assert_allclose(
      [metrics["correct/even"], metrics["correct/odd"]], [1.0, 1.0])


def scores_of(rewards, valid=None):
  rewards = np.array(rewards, np.float32)
  return Scores(rewards, rewards, {}, (), np.ones(len(rewards), bool)
                if valid is None else np.array(valid))


def test_a_shuffle_moves_rewards_and_nothing_else():
  scores = scores_of(np.arange(12))
  group, batch = (shuffled(scores, 4, how, (0, 1)) for how in
                  ("group", "batch"))
  assert shuffled(scores, 4, "", (0, 1)) is scores
  for each in (group, batch):
    assert sorted(each.rewards_B) == list(range(12))
    assert each.rewards_B.tolist() != list(range(12))
    np.testing.assert_array_equal(each.correct_B, scores.correct_B)
  for start in (0, 4, 8):
    assert sorted(group.rewards_B[start:start + 4]) == list(
        range(start, start + 4))
  assert any(batch.rewards_B[i] // 4 != i // 4 for i in range(12))
  np.testing.assert_array_equal(
      batch.rewards_B, shuffled(scores, 4, "batch", (0, 1)).rewards_B)
  assert shuffled(scores, 4, "batch", (0, 2)).rewards_B.tolist() != (
      batch.rewards_B.tolist())


def test_faulty_rows_keep_out_of_the_lot():
  valid = [True, False, True, True, True, True, False, False]
  scores = scores_of([1, 9, 2, 3, 4, 5, 9, 9], valid)
  mixed = shuffled(scores, 4, "batch", (0,))
  assert mixed.rewards_B[1] == mixed.rewards_B[6] == mixed.rewards_B[7] == 9


def test_a_faulty_row_is_not_trained_on(make):
  class Skipping:
    def score(self, problems, completions):
      scores = of_task(Numbered()).score(problems, completions)
      valid = np.arange(len(problems)) % G != 1
      fault = Fault("mine", "it hung", 1, "", "1", "a", count=P)
      return Scores(scores.rewards_B, scores.correct_B, {}, (fault,), valid)
  collector, _ = make(scorer=Skipping())
  made = collector.collect(None, 1, 0, 0)
  trained_PG = made.rollouts.loss_mask_BT.any(axis=1).reshape(P, G)
  assert trained_PG.tolist() == [[True, False, True]] * P
  assert len(made.faults) == 1 and "mine: it hung; at row 1" in made.faults[0]
  np.testing.assert_allclose(made.metrics["faulty"], 1 / 3)
