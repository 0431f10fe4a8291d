"""Mixtures have their shares; curricula go on from what they have seen."""

import collections
import json

import numpy as np
import pytest

from llm_jax.config import ConfigError, CurriculumConfig, RlDataConfig
from llm_jax.rl.curriculum import draw_levels, make_curriculum
from llm_jax.rl.environments.loading import load_environment
from llm_jax.rl.environments.protocol import Completion, Levelled


@pytest.fixture
def mixture(tmp_path):
  path = tmp_path / "p.jsonl"
  path.write_text("".join(json.dumps(
      {"prompt": f"What is {i}?", "answer": i}) + "\n" for i in range(40)))
  parts = (f"{path}:2", "sums:1", "game:maze:1")
  return lambda seed=0: load_environment(
      RlDataConfig(mixture=parts, eval_problems=8), seed)


def test_a_mixture_has_its_shares(mixture):
  environment = mixture()
  problems = [p for step in range(125)
              for p in environment.train_problems(step, 8)]
  counts = collections.Counter(p.columns["task"] for p in problems)
  assert sorted(counts.values()) == [250, 250, 500]
  # The file's are told one after the other, each once in an epoch.
  own = [p.prompt for p in problems if p.columns["task"].endswith(".jsonl")]
  assert set(collections.Counter(own).values()) <= {13, 14}
  held_out = environment.held_out_problems(8)
  assert not {p.prompt for p in held_out if p.columns["task"] != "game:maze"
              } & {p.prompt for p in problems}
  assert {p.columns["task"] for p in held_out} == set(counts)


def test_a_mixture_is_a_function_of_seed_and_step(mixture):
  environment = mixture()
  later = environment.train_problems(200, 8)
  assert mixture().train_problems(200, 8) == later
  assert mixture(1).train_problems(200, 8) != later
  assert environment.train_problems(199, 8) != later
  # Number 16 is number 16, however many a step has.
  assert environment.train_problems(1, 16) == [
      p for step in (4, 5, 6, 7) for p in environment.train_problems(step, 4)]


def test_each_part_scores_its_own(mixture):
  environment = mixture()
  for problem in environment.train_problems(0, 20):
    episode = environment.episode(problem)
    if problem.columns["task"] == "game:maze":
      assert episode.reset()[-1]["content"] == problem.prompt
      continue
    assert episode is None
    right = Completion(f"#### {problem.answer}", True)
    assert environment.score(problem, right) == 1


def sums(**settings):
  return load_environment(RlDataConfig(min_terms=2, max_terms=6), 0), (
      CurriculumConfig(**settings))


def terms(problems):
  return [p.prompt.count("+") + 1 for p in problems]


def test_none_changes_nothing():
  environment, config = sums()
  curriculum = make_curriculum(environment, config, 0)
  assert isinstance(environment, Levelled)
  assert curriculum.train_problems(3, 8) == environment.train_problems(3, 8)
  assert curriculum.held_out_problems(3) == environment.held_out_problems(3)
  curriculum.observe(curriculum.train_problems(0, 2), np.ones(2))
  assert curriculum.state() == {}


def test_stages():
  environment, config = sums(kind="staged", stage_steps=10, review=0.0)
  curriculum = make_curriculum(environment, config, 0)
  for step, expected in ((0, 2), (9, 2), (10, 3), (25, 4), (49, 6), (999, 6)):
    problems = curriculum.train_problems(step, 16)
    assert set(terms(problems)) == {expected}
    assert curriculum.level == expected - 2
    assert curriculum.train_problems(step, 16) == problems


def test_review():
  levels = draw_levels(3, 4000, 0.25, (0, 1))
  counts = collections.Counter(levels)
  assert 0.72 < counts[3] / 4000 < 0.78
  assert min(counts[0], counts[1], counts[2]) > 250
  assert draw_levels(0, 50, 0.9, (0, 1)) == [0] * 50
  assert draw_levels(3, 10, 0.25, (0, 1)) == levels[:10]


def test_adaptive_rises_and_falls():
  environment, config = sums(kind="adaptive", window=32, review=0.0)
  curriculum = make_curriculum(environment, config, 0)

  def batch(step, share):
    problems = curriculum.train_problems(step, 16)
    correct = np.arange(16) < share * 16
    curriculum.observe(problems, correct.astype(np.float32))
    return curriculum.level

  assert [batch(0, 1.0), batch(1, 1.0)] == [0, 1]
  assert set(terms(curriculum.train_problems(2, 16))) == {3}
  assert [batch(2, 0.5), batch(3, 0.5)] == [1, 1]  # neither
  assert [batch(4, 1.0), batch(5, 0.5)] == [1, 1]  # three quarters
  assert [batch(6, 0.1), batch(7, 0.1)] == [1, 0]
  assert [batch(8, 0.0), batch(9, 0.0)] == [0, 0]  # nothing below
  for step in range(10, 40):
    batch(step, 1.0)
  assert curriculum.level == environment.num_levels - 1


def test_samples_of_other_levels_do_not_count():
  environment, config = sums(kind="adaptive", window=16)
  curriculum = make_curriculum(environment, config, 0)
  easy = environment.train_problems_at(0, [0] * 15)
  hard = environment.train_problems_at(0, [3] * 100)
  curriculum.observe([*easy, *hard], np.ones(115))
  assert curriculum.state() == {"level": 0, "seen": 15, "right": 15}


def test_an_adaptive_one_goes_on_from_its_state():
  environment, config = sums(kind="adaptive", window=48)
  rng = np.random.default_rng(0)
  noise = rng.random((40, 16))

  def run(curriculum, steps, saved):
    drawn = []
    for step in steps:
      problems = curriculum.train_problems(step, 16)
      drawn.append(terms(problems))
      curriculum.observe(problems, noise[step] < 0.9)
      saved[step] = json.dumps(curriculum.state())
    return drawn

  states = {}
  whole = run(make_curriculum(environment, config, 0), range(40), states)
  assert max(map(max, whole)) == 6
  for at in (1, 7, 20):
    resumed = make_curriculum(environment, config, 0)
    resumed.restore(json.loads(states[at - 1]))
    assert run(resumed, range(at, 40), {}) == whole[at:]


def test_a_mixture_has_levels(mixture):
  environment = mixture()
  assert environment.num_levels == 4  # the maze's; sums have three
  problems = environment.train_problems_at(0, [3] * 40)
  sizes = {json.loads(p.answer)["size"] for p in problems
           if p.columns["task"] == "game:maze"}
  assert sizes == {5}
  assert {n for p in problems if p.columns["task"] == "sums"
          for n in terms([p])} == {6}


def test_what_cannot_be_is_told(tmp_path):
  path = tmp_path / "p.jsonl"
  path.write_text('{"prompt": "a", "answer": 1}\n{"prompt": "b", "answer": 2}')
  environment = load_environment(RlDataConfig(path=str(path)), 0)
  with pytest.raises(ConfigError, match="curriculum.column"):
    make_curriculum(environment, CurriculumConfig(kind="staged"), 0)
  for settings, told in (({"kind": "harder"}, "curriculum.kind"),
                         ({"review": 1.0}, "review"),
                         ({"lower_at": 0.9}, "lower_at"),
                         ({"window": 0}, "window")):
    with pytest.raises(ConfigError, match=told):
      make_curriculum(environment, CurriculumConfig(**settings), 0)


@pytest.mark.parametrize("settings, told", [
    ({"mixture": ("sums", "sums:2")}, "twice"),
    ({"mixture": ("sums:0",)}, "positive"), ({"path": ""}, "path is empty"),
    ({"verifier": "magic"}, "verifier"), ({"tolerance": -1.0}, "tolerance"),
    ({"eval_problems": 0}, "eval_problems"), ({"workers": 0}, "workers"),
    ({"gym_settings": ("a=1",)}, "no family"),
    ({"sandbox": "none"}, "sandbox")])
def test_settings_that_cannot_be(settings, told):
  with pytest.raises(ConfigError, match=told):
    load_environment(RlDataConfig(**settings), 0)
