"""A tokenizer, a model whose samples end by themselves, and tasks for both."""

import jax
import numpy as np

from llm_jax.config import ModelConfig, TokenizerConfig
from llm_jax.model.params import init_params
from llm_jax.rl.environments.protocol import Problem, Turn
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.chat import stop_ids


def make_tokenizer():
  return train_bpe(["What is this?"] * 4, TokenizerConfig(vocab_size=270))


def make_policy(tokenizer, max_seq_len=64, likelier=(), by=0.15):
  """(params, model); stop tokens and `likelier` ones come often enough to be
  seen."""
  model = ModelConfig(
      vocab_size=tokenizer.vocab_size, embed_dim=16, num_layers=1, num_heads=2,
      num_kv_heads=2, head_dim=8, mlp_dim=16, max_seq_len=max_seq_len,
      norm="layernorm")
  params = jax.jit(init_params, static_argnames="config")(
      jax.random.key(0), config=model)
  # The final norm's bias is read by these tokens alone.
  embed = np.array(params["embed"]["tokens"])
  embed[list(stop_ids(tokenizer)) + list(likelier)] += by
  norm = {**params["final_norm"], "bias": np.ones(16, np.float32)}
  return {**params, "final_norm": norm, "embed": {"tokens": embed}}, model


class Echo:
  """A reward for ending, and for an even number of characters."""

  def train_problems(self, step, num_problems):
    return [Problem("?" * (1 + (step + i) % 3), f"{step}.{i}", source="echo")
            for i in range(num_problems)]

  def held_out_problems(self, num_problems):
    return [Problem("!" * (1 + i % 4), str(i)) for i in range(num_problems)]

  def score(self, problem, completion):
    return (float(completion.stopped)
            + 0.5 * float(len(completion.text) % 2 == 0))

  def episode(self, problem):
    return None


class Guessing:
  """An episode: it says how long the answer was, and ends after `turns`."""

  def __init__(self, problem, turns=3):
    self._problem, self._left, self.heard = problem, turns, []

  def reset(self):
    return [{"role": "system", "content": "Guess."},
            {"role": "user", "content": self._problem.prompt}]

  def step(self, answer):
    self.heard.append(answer)
    self._left -= 1
    return Turn(f"{len(answer)} long", 0.25, self._left <= 0)


class Game(Echo):
  """Problems that are such episodes."""

  def score(self, problem, completion):
    return completion.game_reward

  def episode(self, problem):
    return Guessing(problem)
