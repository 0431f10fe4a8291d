"""The rules: against pgx, and against counting by hand on other boards."""

import jax
import jax.numpy as jnp
import numpy as np
import pgx
import pytest

from llm_jax.config import ConnectFourConfig, TeacherConfig
from llm_jax.rl.selfplay.connect_four import (
    legal_columns, lines, new_games, play, winning_cells)
from llm_jax.rl.selfplay.teacher import move_values, teacher_logprobs

GAME = ConnectFourConfig()
SMALL = ConnectFourConfig(rows=4, columns=5, connect=3, opening_plies=2)


def random_columns(rng, legal_BW):
  """A legal column of each row; of a row without, any."""
  scores_BW = rng.random(legal_BW.shape) * (legal_BW + 1e-9)
  return scores_BW.argmax(1).astype(np.int32)


def test_random_games_are_those_of_pgx():
  games, rng = 64, np.random.default_rng(0)
  env = pgx.make("connect_four")
  theirs = jax.vmap(env.init)(jax.random.split(jax.random.key(0), games))
  first_B = np.asarray(theirs.current_player)  # who of pgx's two begins
  step, ours = jax.jit(jax.vmap(env.step)), new_games(games, GAME)
  move = jax.jit(lambda p, c: play(p, c, GAME))
  outcome_B, over_B = np.zeros(games), np.zeros(games, bool)
  for _ in range(GAME.cells):
    legal_BW = np.asarray(legal_columns(ours, GAME))
    np.testing.assert_array_equal(
        legal_BW[~over_B], np.asarray(theirs.legal_action_mask)[~over_B])
    columns_B = random_columns(rng, legal_BW)
    ours, theirs = move(ours, columns_B), step(theirs, columns_B)
    np.testing.assert_array_equal(ours.over_B, theirs.terminated)
    # pgx pays in the step that ends a game, and nothing after it.
    paid_B = np.asarray(theirs.rewards)[np.arange(games), first_B]
    outcome_B = np.where(over_B, outcome_B, paid_B)
    over_B = np.asarray(ours.over_B)
    np.testing.assert_array_equal(ours.outcome_B, outcome_B)
  assert over_B.all()
  assert {-1.0, 1.0} <= set(outcome_B.tolist())


@pytest.mark.parametrize("game, count", [(GAME, 69), (SMALL, 4 * 3 + 5 * 2
                                                      + 2 * 2 * 3)])
def test_the_number_of_lines(game, count):
  assert lines(game).shape == (count, game.cells)
  assert (lines(game).sum(1) == game.connect).all()


def played(columns, game):
  position = new_games(1, game)
  for column in columns:
    position = play(position, jnp.array([column], jnp.int32), game)
  return position


@pytest.mark.parametrize("columns, outcome", [
    ([0, 1, 0, 1, 0, 1, 0], 1),  # a column
    ([6, 0, 0, 1, 1, 2, 2, 3], -1),  # a row of the second player
    ([0, 1, 1, 2, 2, 3, 2, 3, 3, 6, 3], 1),  # a diagonal
    ([0, 1, 2], 0)])
def test_games_that_a_person_sees_through(columns, outcome):
  position = played(columns, GAME)
  assert float(position.outcome_B[0]) == outcome
  assert bool(position.over_B[0]) == (outcome != 0)


def test_a_game_that_is_over_stays_as_it_is():
  over = played([0, 1, 0, 1, 0, 1, 0], GAME)
  after = play(over, jnp.array([3], jnp.int32), GAME)
  jax.tree.map(np.testing.assert_array_equal, over, after)


def test_winning_cells_are_those_that_win():
  rng = np.random.default_rng(1)
  position = new_games(32, SMALL)
  for _ in range(7):
    position = play(position, random_columns(
        rng, np.asarray(legal_columns(position, SMALL))), SMALL)
  mine_BC, theirs_BC = winning_cells(position, SMALL)
  stones_B2C = np.asarray(position.stones_B2C)
  for row in range(32):
    mover = int(position.mover_B[row])
    for wins_C, player in ((mine_BC[row], mover), (theirs_BC[row], 1 - mover)):
      for cell in range(SMALL.cells):
        own_C = stones_B2C[row, player].copy()
        free = not stones_B2C[row, :, cell].any()
        own_C[cell] = True
        completes = any(own_C[line > 0].all() and line[cell]
                        for line in lines(SMALL))
        assert bool(wins_C[cell]) == (free and completes)


def by_hand(columns, depth, game):
  """Values of moves by plain recursion over single games."""
  position, found = played(columns, game), []
  for column in range(game.columns):
    if not bool(legal_columns(position, game)[0, column]):
      found.append(-np.inf)
      continue
    after = played([*columns, column], game)
    if float(after.outcome_B[0]):
      found.append(1.0)
    elif bool(after.over_B[0]) or depth == 1:
      found.append(0.0)
    else:
      found.append(-0.99 * max(by_hand([*columns, column], depth - 1, game)))
  return found


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_search_is_the_plain_recursion(depth):
  game = ConnectFourConfig(rows=3, columns=3, connect=3, opening_plies=2)
  rng = np.random.default_rng(depth)
  found = []
  for plies in (3, 4, 5, 6):
    columns = []
    while len(columns) < plies:
      position = played(columns, game)
      if bool(position.over_B[0]):
        columns = []
        continue
      columns.append(int(random_columns(
          rng, np.asarray(legal_columns(position, game)))[0]))
    position = played(columns, game)
    if bool(position.over_B[0]):
      continue
    expected_W = by_hand(columns, depth, game)
    np.testing.assert_allclose(move_values(position, depth, game)[0],
                               expected_W, atol=1e-6)
    found += expected_W
  assert depth == 1 or min(v for v in found if v > -np.inf) < 0


def test_the_teacher_wins_blocks_and_errs():
  noisy, sure = TeacherConfig(2, 0.2), TeacherConfig(2, 0.0)
  mine, theirs = [3, 0, 3, 0, 3, 1], [0, 3, 0, 3, 1, 3]  # column 3 wins, saves
  for columns in (mine, theirs):
    p_W = np.exp(teacher_logprobs(played(columns, GAME), noisy, GAME)[0])
    np.testing.assert_allclose(p_W[3], 0.8 + 0.2 / 7, rtol=1e-5)
    np.testing.assert_allclose(p_W.sum(), 1, rtol=1e-5)
    q_W = np.exp(teacher_logprobs(played(columns, GAME), sure, GAME)[0])
    np.testing.assert_allclose(q_W, np.eye(7)[3], atol=1e-6)
  full = played([2] * 6, GAME)
  assert np.exp(teacher_logprobs(full, noisy, GAME)[0, 2]) == 0
