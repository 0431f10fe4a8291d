"""Games as text, played by a model: what is sampled is what is trained."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_jax.config import (
    ConfigError, ConnectFourConfig, ImprovementConfig, MeshConfig, ModelConfig,
    TeacherConfig, TreeSearchConfig)
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward
from llm_jax.rl.selfplay.connect_four import new_games, play
from llm_jax.rl.selfplay.earlier_selves import (
    EarlierSelves, games_to_learn_from, opponent_step, parts_of)
from llm_jax.rl.selfplay.episodes import play_games, training_games
from llm_jax.rl.selfplay.game_text import (
    START, board_text, column_logprobs, game_tokenizer, move_tokens, to_columns,
    to_text, values, vocabulary)
from llm_jax.rl.selfplay.losses import (
    game_advantages, imitation_batch, imitation_loss_fn, improvement_loss_fn)
from llm_jax.rl.selfplay.players import ModelPlayer, SearchPlayer, Seen
from llm_jax.rl.selfplay.tree_search import TreePlayer
from llm_jax.sharding import make_mesh
from llm_jax.tokenizer.loading import load_tokenizer
from llm_jax.training.train_step import fresh_state, train_step

GAME = ConnectFourConfig(rows=4, columns=4, connect=3, opening_plies=2)
MODEL = ModelConfig(vocab_size=len(vocabulary(GAME)), embed_dim=16,
                    num_layers=2, num_heads=2, num_kv_heads=2, head_dim=8,
                    mlp_dim=32, max_seq_len=16, position="none", init_std=0.2)
CONFIG = ImprovementConfig(batch_size=16, updates=2, pool_share=0.5)
PLAYER = ModelPlayer(MODEL, GAME)
TEACHER = SearchPlayer(TeacherConfig(), GAME)


@pytest.fixture(scope="module")
def params():
  return init_params(jax.random.key(0), MODEL)


@pytest.fixture(scope="module")
def earlier():
  return init_params(jax.random.key(1), MODEL)


@pytest.fixture(scope="module")
def learnt(params, earlier):
  """(batch, metrics) of a step of self-play, half of it with another."""
  return jax.jit(lambda p, e: games_to_learn_from(
      p, e, jax.random.key(2), PLAYER, CONFIG))(params, earlier)


# --- text ---------------------------------------------------------------------


def test_the_tokenizer_has_the_ids_of_the_vocabulary(tmp_path):
  words, tokenizer = vocabulary(GAME), game_tokenizer(GAME)
  tokenizer.save(tmp_path)
  tokenizer = load_tokenizer(tmp_path)
  assert tokenizer.vocab_size == len(words) == 4 + 2 * 16
  assert tokenizer.encode(" ".join(words), allow_special=True) == list(
      range(len(words)))
  assert tokenizer.encode("Xd1 Od2") == [words.index(w)
                                         for w in ("Xd1", "Od2")]


def test_a_game_reads_as_it_was_played():
  columns = [3, 3, 0, 1]
  position, tokens = new_games(1, GAME), [START]
  for column in columns:
    tokens.append(int(move_tokens(position, GAME)[0, column]))
    position = play(position, jnp.array([column], jnp.int32), GAME)
  text = to_text(tokens, GAME)
  assert text == "<|start|> Xd1 Od2 Xa1 Ob1"
  assert to_columns(text, GAME) == columns
  assert board_text(columns, GAME).splitlines()[-3:] == [
      ". . . O", "X O . X", "a b c d"]


@pytest.mark.parametrize("text", ["Od1", "Xd2", "Xd1 Xd2", "Xd1 Od1", "Xz1"])
def test_what_is_no_move_is_named(text):
  with pytest.raises(ConfigError, match="cannot be move.*choose one of"):
    to_columns(text, GAME)


def test_probabilities_are_of_legal_moves_alone():
  logits_BV = jnp.array([[9.0, 0, 0, 0, 1, 2, 3, 4]] * 2)
  choices_BW = jnp.array([[4, START, 6], [START] * 3])
  p_BW = np.exp(column_logprobs(logits_BV, choices_BW))
  e = np.exp([1.0, 3.0])
  np.testing.assert_allclose(p_BW[0], [e[0] / e.sum(), 0, e[1] / e.sum()],
                             rtol=1e-6)
  np.testing.assert_allclose(p_BW[1], 1 / 3, rtol=1e-6)  # a full board
  gradient_BV = jax.grad(lambda x: column_logprobs(x, choices_BW)[0, 0])(
      logits_BV)
  np.testing.assert_allclose(
      gradient_BV[0], [0, 0, 0, 0, 1 - p_BW[0, 0], 0, -p_BW[0, 2], 0],
      atol=1e-6)
  np.testing.assert_allclose(values(jnp.array([[0, 2.0, 0, 0]])),
                             (np.e**2 - 1) / (np.e**2 + 2), rtol=1e-6)


# --- advantages ---------------------------------------------------------------


def test_advantages_of_a_game_by_hand():
  # Three plies, won by the first player with the last move.
  values_BT = jnp.array([[0.1, -0.2, 0.5, 0.7]])
  played_BT = jnp.array([[True, True, True, False]])
  results_BT = jnp.array([[1.0, -1.0, 1.0, -1.0]])
  deltas = [0.2 - 0.1, -0.5 + 0.2, 1 - 0.5]
  last = deltas[2]
  second = deltas[1] - 0.5 * last
  found_BT = game_advantages(values_BT, played_BT, results_BT, 0.5)
  np.testing.assert_allclose(
      found_BT, [[deltas[0] - 0.5 * second, second, last, 0]], rtol=1e-6)
  # With λ = 1 all that the values in between say cancels.
  np.testing.assert_allclose(
      game_advantages(values_BT, played_BT, results_BT, 1.0),
      [[0.9, -0.8, 0.5, 0]], rtol=1e-6)
  # With λ = 0 it is how the next position was better than this one.
  np.testing.assert_allclose(
      game_advantages(values_BT, played_BT, results_BT, 0.0),
      [[*deltas, 0]], rtol=1e-5)


# --- what is sampled is what is trained --------------------------------------


def test_the_first_ratio_is_one(params, learnt):
  batch, _ = learnt
  loss, aux = improvement_loss_fn(MODEL, CONFIG)(params, None, batch, 0)
  total, weight = aux.metrics["ratio_error"]
  assert float(weight) > 16 * 3 and float(total) / float(weight) < 1e-5
  # And of each move by itself, from the plain forward pass.
  logits_BTV, _ = forward(params, batch["tokens"], MODEL)
  logprobs_BTW = column_logprobs(logits_BTV, batch["choices"])
  logprobs_BT = jnp.take_along_axis(
      logprobs_BTW, batch["columns"][..., None], axis=2)[..., 0]
  ratio_BT = np.exp(logprobs_BT - batch["old_logprobs"])
  own_BT = np.asarray(batch["loss_mask"]) > 0
  np.testing.assert_allclose(ratio_BT[own_BT], 1, atol=1e-5)
  assert np.abs(ratio_BT[~own_BT & np.asarray(batch["chosen"])] - 1).max() > .1


def test_only_its_own_moves_are_trained(params, learnt):
  batch, metrics = learnt
  chosen_BT, trained_BT = (np.asarray(batch[n]) > 0
                           for n in ("chosen", "loss_mask"))
  half, quarter = slice(0, 8), 4
  np.testing.assert_array_equal(trained_BT[half], chosen_BT[half])
  even_T = np.arange(GAME.cells) % 2 == 0
  first, second = trained_BT[8:8 + quarter], trained_BT[8 + quarter:]
  np.testing.assert_array_equal(first, chosen_BT[8:8 + quarter] & even_T)
  np.testing.assert_array_equal(second, chosen_BT[8 + quarter:] & ~even_T)
  assert 0 <= float(metrics["pool_score"]) <= 1

  # Whatever stands elsewhere changes nothing, in the gradient either.
  other = dict(batch)
  for name in ("advantages", "old_logprobs"):
    other[name] = jnp.where(trained_BT, batch[name], 7.0)
  loss_fn = improvement_loss_fn(MODEL, CONFIG)
  grads = [jax.grad(lambda p, b=b: loss_fn(p, None, b, 0)[0])(params)
           for b in (batch, other)]
  jax.tree.map(np.testing.assert_array_equal, *grads)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))


def test_advantages_are_of_unit_size_and_of_the_side_that_moves(learnt):
  batch, _ = learnt
  own_BT = np.asarray(batch["loss_mask"]) > 0
  np.testing.assert_allclose(np.asarray(batch["advantages"])[own_BT].std(), 1,
                             rtol=1e-3)
  results_BT = np.asarray(batch["results"])
  np.testing.assert_array_equal(results_BT[:, 1:], -results_BT[:, :-1])


def test_the_gradient_is_that_of_reinforce(params, learnt):
  """On-policy, with no entropy and value terms: -Σ A ∇ log π."""
  batch, _ = learnt
  config = dataclasses.replace(CONFIG, value_coef=0.0, entropy_coef=0.0)

  def reinforce(params):
    logits_BTV, _ = forward(params, batch["tokens"], MODEL)
    logits_BTW = jnp.take_along_axis(logits_BTV, batch["choices"], axis=2)
    legal_BTW = batch["choices"] != START
    p_BTW = jnp.where(legal_BTW, jnp.exp(logits_BTW), 0.0)
    p_BT = jnp.take_along_axis(p_BTW, batch["columns"][..., None],
                               axis=2)[..., 0]
    logprob_BT = jnp.log(p_BT / p_BTW.sum(-1) + (batch["loss_mask"] == 0))
    return -jnp.sum(batch["loss_mask"] * batch["advantages"] * logprob_BT)
  found = jax.grad(lambda p: improvement_loss_fn(MODEL, config)(
      p, None, batch, 0)[0])(params)
  expected = jax.grad(reinforce)(params)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3,
                                 atol=1e-4), found, expected)


def test_parts_hold_every_game_once_an_epoch(learnt):
  batch, _ = learnt
  config = dataclasses.replace(CONFIG, epochs=2)
  parts = parts_of({"row": jnp.arange(16)}, jax.random.key(0), config)
  assert [len(p["row"]) for p in parts] == [8] * 4
  for epoch in (parts[:2], parts[2:]):
    assert sorted(np.concatenate([p["row"] for p in epoch])) == list(range(16))


def stepped(params, batch, mesh_config=None, num_microbatches=1):
  tx = optax.sgd(0.1)
  step = functools.partial(
      train_step, loss_fn=improvement_loss_fn(MODEL, CONFIG), tx=tx,
      num_microbatches=num_microbatches)
  if mesh_config is None:
    return jax.jit(step)(fresh_state(params, tx), None, batch)
  with jax.set_mesh(make_mesh(mesh_config)):
    return jax.jit(step)(fresh_state(params, tx), None, batch)


def close(a, b):
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4,
                                 atol=1e-5), a, b)


def test_microbatches_and_devices_change_nothing(params, learnt):
  batch, _ = learnt
  state, metrics = stepped(params, batch)
  for other, other_metrics in (stepped(params, batch, num_microbatches=4),
                               stepped(params, batch, MeshConfig(data=8))):
    close(state.params, other.params)
    close(metrics["loss"], other_metrics["loss"])


# --- players ------------------------------------------------------------------


def test_a_model_sees_what_was_played(params):
  """Decoding with a cache says what the whole forward pass says."""
  record = jax.jit(lambda p: training_games(
      (PLAYER, TEACHER), (p, None), 8, jax.random.key(3), GAME))(params)
  logits_BTV, _ = forward(params, record.tokens_BT, MODEL)
  own_BT = np.asarray(record.played_BT) & (np.arange(GAME.cells) % 2 == 0)
  np.testing.assert_allclose(record.values_BT[own_BT],
                             values(logits_BTV)[own_BT], atol=1e-5)
  expected_BTW = column_logprobs(logits_BTV, record.choices_BTW)
  np.testing.assert_allclose(np.exp(record.logprobs_BTW[own_BT]),
                             np.exp(expected_BTW[own_BT]), atol=1e-5)


def test_games_are_legal_and_end(params):
  record = play_games((PLAYER,), (params,), jnp.zeros((32, 2), jnp.int32),
                      jnp.full(32, 2, jnp.int32), jax.random.key(4), GAME)
  for row in range(32):
    plies = int(record.played_BT[row].sum())
    moves = np.asarray(record.tokens_BT)[row, :plies]
    text = to_text(moves, GAME)  # all but the last
    assert to_columns(text, GAME) == np.asarray(
        record.columns_BT)[row, :plies - 1].tolist()
    assert plies == GAME.cells or record.outcome_B[row] != 0


def test_the_greedy_player_plays_its_likeliest_move(params):
  greedy = dataclasses.replace(PLAYER, greedy=True)
  openings = (jnp.zeros((4, 0), jnp.int32), jnp.zeros(4, jnp.int32))
  record = play_games((greedy,), (params,), *openings, jax.random.key(5), GAME)
  logits_BTV, _ = forward(params, record.tokens_BT, MODEL)
  best_BT = column_logprobs(logits_BTV, record.choices_BTW).argmax(-1)
  played_BT = np.asarray(record.played_BT)
  np.testing.assert_array_equal(np.asarray(best_BT)[played_BT],
                                np.asarray(record.columns_BT)[played_BT])


@pytest.mark.parametrize("columns, best", [
    ([0, 3, 0, 3], 0),  # its own third
    ([0, 3, 1, 3], 2)])  # its own row rather than the block
def test_the_search_finds_a_win(params, columns, best):
  position, tokens = new_games(1, GAME), [START]
  for column in columns:
    tokens.append(int(move_tokens(position, GAME)[0, column]))
    position = play(position, jnp.array([column], jnp.int32), GAME)
  tokens_BT = jnp.zeros((1, GAME.cells + 1), jnp.int32).at[
      0, :len(tokens)].set(jnp.array(tokens))
  player = TreePlayer(MODEL, GAME, TreeSearchConfig(32, 4, 2))
  logprobs_BW, _, _ = player.moves(
      params, (), Seen(position, tokens_BT, jnp.int32(len(columns))),
      jnp.array(True), jax.random.key(0))
  assert int(logprobs_BW[0].argmax()) == best


# --- imitation ----------------------------------------------------------------


def test_the_excess_is_the_divergence_from_the_teacher(params):
  record = jax.jit(lambda: training_games(
      (TEACHER,), (None,), 16, jax.random.key(6), GAME))()
  _, aux = imitation_loss_fn(MODEL, 0.5)(params, None, imitation_batch(record),
                                         0)
  logits_BTV, _ = forward(params, record.tokens_BT, MODEL)
  p_BTW = np.exp(np.asarray(record.logprobs_BTW, np.float64))
  q_BTW = np.exp(np.asarray(column_logprobs(logits_BTV, record.choices_BTW),
                            np.float64))
  kl_BT = np.where(p_BTW > 0, p_BTW * (np.log(np.maximum(p_BTW, 1e-30))
                                       - np.log(np.maximum(q_BTW, 1e-30))),
                   0).sum(-1)
  chosen_BT = np.asarray(record.chosen_BT)
  total, weight = aux.metrics["excess"]
  assert float(weight) == chosen_BT.sum()
  np.testing.assert_allclose(total, kl_BT[chosen_BT].sum(), rtol=1e-4)
  move_BT = -np.log(np.take_along_axis(
      q_BTW, np.asarray(record.columns_BT)[..., None], axis=2))[..., 0]
  np.testing.assert_allclose(aux.metrics["move_loss"][0],
                             move_BT[chosen_BT].sum(), rtol=1e-4)


# --- earlier selves ----------------------------------------------------------


def test_who_is_met_is_a_function_of_seed_and_step():
  config = ImprovementConfig(pool_every=10, pool_size=3)
  drawn = {step: {opponent_step(step, seed, config) for seed in range(40)}
           for step in (1, 10, 11, 35, 100, 101)}
  assert drawn == {1: {0}, 10: {0}, 11: {0, 10}, 35: {10, 20, 30},
                   100: {70, 80, 90}, 101: {80, 90, 100}}
  assert opponent_step(35, 3, config) == opponent_step(35, 3, config)


def test_a_kept_self_comes_back(tmp_path, params, earlier):
  config = ImprovementConfig(pool_every=2, pool_size=1)
  def selves():
    return EarlierSelves(str(tmp_path), MODEL, game_tokenizer(GAME), config, 0)
  kept = selves()
  kept.keep(0, params)
  kept.keep(1, earlier)  # not one of those
  jax.tree.map(np.testing.assert_array_equal, selves().opponent(2), params)
  kept.keep(2, params)
  kept.keep(2, earlier)  # again, after a restart
  jax.tree.map(np.testing.assert_array_equal, selves().opponent(3), earlier)
  with pytest.raises(ConfigError, match="pool_share=0"):
    selves().opponent(5)
