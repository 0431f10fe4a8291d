"""Elo, its intervals, and matches in pairs."""

import math

import jax
import numpy as np
import pytest

from llm_jax.config import ConfigError, ConnectFourConfig, TeacherConfig
from llm_jax.rl.selfplay.elo import elo_difference, elo_of_score
from llm_jax.rl.selfplay.matches import match_texts, play_match
from llm_jax.rl.selfplay.game_text import to_columns
from llm_jax.rl.selfplay.players import SearchPlayer

GAME = ConnectFourConfig(rows=4, columns=4, connect=3, opening_plies=2)


def player(depth, random_share):
  return SearchPlayer(TeacherConfig(depth, random_share), GAME)


def test_elo_of_known_scores():
  np.testing.assert_allclose(elo_of_score(0.5, 100), 0, atol=1e-9)
  np.testing.assert_allclose(elo_of_score(0.75, 100), 190.85, atol=0.01)
  np.testing.assert_allclose(elo_of_score(0.64, 100), 99.95, atol=0.01)
  for elo in (-300.0, 60.0, 100.0):
    score = 1 / (1 + 10 ** (-elo / 400))  # Elo's expected score
    np.testing.assert_allclose(elo_of_score(score, 10**6), elo)
  # All of 100 won is counted as one drawn.
  assert elo_of_score(1.0, 100) == elo_of_score(0.995, 100) < math.inf


def test_the_interval_is_of_pairs():
  rng, P = np.random.default_rng(0), 800
  points_P2 = rng.choice([0.0, 0.5, 1.0], (P, 2), p=[0.3, 0.1, 0.6])
  found = elo_difference(points_P2, 4000)
  score, error = points_P2.mean(), points_P2.mean(1).std() / P**0.5
  np.testing.assert_allclose(found.elo, elo_of_score(score, 2 * P))
  for bound, sign in ((found.low, -1), (found.high, 1)):
    normal = elo_of_score(score + sign * 1.96 * error, 2 * P)
    np.testing.assert_allclose(bound, normal, atol=1.5)
  # Games of a pair that always end alike say half as much.
  alike_P2 = np.repeat(points_P2[:, :1], 2, axis=1)
  wider = elo_difference(alike_P2, 4000)
  np.testing.assert_allclose(
      (wider.high - wider.low) / (found.high - found.low), 2**0.5, rtol=0.1)
  assert found.games == 1600
  np.testing.assert_allclose(found.won + found.drawn / 2, found.score)
  assert found == elo_difference(points_P2, 4000)


def test_one_pair_has_no_interval():
  with pytest.raises(ConfigError, match="two pairs"):
    elo_difference(np.ones((1, 2)), 100)


def test_a_match_is_of_the_same_openings_with_both_colours():
  found, (begun, answered) = play_match(
      (player(2, 0.0), player(1, 1.0)), (None, None), 64, jax.random.key(0),
      GAME, 100)
  plies = GAME.opening_plies
  np.testing.assert_array_equal(begun.columns_BT[:, :plies],
                                answered.columns_BT[:, :plies])
  assert not begun.chosen_BT[:, :plies].any()
  assert begun.chosen_BT[:, plies].all()
  points = np.concatenate([begun.outcome_B, -np.asarray(answered.outcome_B)])
  np.testing.assert_allclose(found.score, (points + 1).mean() / 2)
  assert found.games == 128 and found.low > 0
  # As it was played, read from the text and replayed by other rules.
  texts = match_texts((begun, answered), ("search", "dice"), 3, GAME)
  assert [t["first"] for t in texts] == ["search", "dice"] * 3
  for i, text in enumerate(texts):
    record = (begun, answered)[i % 2]
    columns = to_columns(text["game"], GAME)
    assert columns == np.asarray(record.columns_BT)[
        i // 2, :len(columns)].tolist()
    assert len(columns) == int(record.played_BT[i // 2].sum())


def test_equals_are_equal():
  found, _ = play_match((player(1, 1.0), player(1, 1.0)), (None, None), 400,
                        jax.random.key(1), GAME, 500)
  assert found.low < 0 < found.high
