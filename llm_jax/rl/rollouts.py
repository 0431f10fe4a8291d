"""Samples of the current policy, scored and laid out for the train step.

    problems -> prompts -> G samples each -> rewards -> advantages -> rows

A row is a prompt and its completion, contiguous and padded on the right, so
that training reads exactly the positions that sampling wrote. Shapes are fixed
by the config (`seq_len`, of which `max_new_tokens` are the completion's), so
nothing is compiled twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.struct
import jax
import numpy as np

from llm_jax.config import ModelConfig, RlConfig, require
from llm_jax.inference.completions import generate_texts
from llm_jax.inference.generate import Samples
from llm_jax.model.params import Params
from llm_jax.rl.advantages import group_advantages
from llm_jax.rl.environments.protocol import Environment, Problem
from llm_jax.tokenizer.chat import render_prompt, stop_ids
from llm_jax.tokenizer.protocol import Tokenizer


@flax.struct.dataclass
class Rollouts:
  """B = P·G rows, those of a prompt beside each other; NumPy arrays.

  Attributes:
    tokens_BT: int32 inputs: prompt, completion, zeros.
    targets_BT: int32; `tokens_BT` shifted by one.
    loss_mask_BT: float32; 1 where the target was generated, stop token too.
    old_logprobs_BT: float32; of those targets, when they were sampled.
    advantages_B: of each row within its group.
    rewards_B: of each row.
    lengths_B: int32 generated tokens.
    stopped_B: whether a stop token ended the row.
  """
  tokens_BT: np.ndarray
  targets_BT: np.ndarray
  loss_mask_BT: np.ndarray
  old_logprobs_BT: np.ndarray
  advantages_B: np.ndarray
  rewards_B: np.ndarray
  lengths_B: np.ndarray
  stopped_B: np.ndarray

  def batch(self) -> dict[str, np.ndarray]:
    """What `objectives.policy_loss_fn` reads."""
    return {"tokens": self.tokens_BT, "targets": self.targets_BT,
            "loss_mask": self.loss_mask_BT,
            "old_logprobs": self.old_logprobs_BT,
            "advantages": self.advantages_B}

  def metrics(self, group_size: int) -> dict[str, float]:
    """Means of a step: `reward`, `stopped`, `completion_tokens`, and
    `informative_groups`, the share of prompts whose samples differ in reward
    (the others have no gradient)."""
    rewards_PG = self.rewards_B.reshape(-1, group_size)
    return {"reward": float(self.rewards_B.mean()),
            "stopped": float(self.stopped_B.mean()),
            "completion_tokens": float(self.lengths_B.mean()),
            "informative_groups": float((np.ptp(rewards_PG, 1) > 0).mean())}


def prompt_slots(config: RlConfig, model: ModelConfig) -> int:
  """Tokens of a row that a prompt may take; raises `ConfigError` for none."""
  require(config.seq_len <= model.max_seq_len, f"seq_len={config.seq_len} is "
          f"more than the model's max_seq_len={model.max_seq_len}; lower it.")
  slots = config.seq_len - config.sampling.max_new_tokens
  require(slots > 0, f"seq_len={config.seq_len} leaves no room for a prompt "
          f"beside sampling.max_new_tokens={config.sampling.max_new_tokens}; "
          "raise the first or lower the second.")
  return slots


def encode_prompts(problems: Sequence[Problem],
                   tokenizer: Tokenizer) -> list[list[int]]:
  """Each problem as the ids of a user's message, ready for the answer."""
  return [render_prompt([{"role": "user", "content": problem.prompt}],
                        tokenizer) for problem in problems]


def rollout(params: Params, environment: Environment, tokenizer: Tokenizer,
            step: int, model: ModelConfig,
            config: RlConfig) -> tuple[Rollouts, list[str]]:
  """Samples `group_size` completions of each of `batch_size` problems.

  Everything in it is decided by the parameters, `config.seed` and `step`.

  Args:
    params: the policy, on the ambient mesh where there is one.
    environment: the task.
    tokenizer: the model's.
    step: which problems and which random numbers.
    model: the model.
    config: batch_size (P), group_size (G), seq_len, sampling, normalize_std.

  Returns:
    (Rollouts of P·G rows, the text of each).

  Raises:
    ConfigError: a prompt that leaves no room for `max_new_tokens`.
  """
  problems = environment.train_problems(step, config.batch_size)
  prompts = encode_prompts(problems, tokenizer)
  samples, texts = generate_texts(
      params, prompts, tokenizer,
      jax.random.fold_in(jax.random.key(config.seed), step),
      config.sampling, model, prompt_len=prompt_slots(config, model),
      stop_ids=stop_ids(tokenizer), samples_per_prompt=config.group_size)
  asked = [p for p in problems for _ in range(config.group_size)]
  rewards_B = np.array(
      [environment.reward(*each) for each in
       zip(asked, texts, map(bool, samples.stopped_B))], np.float32)
  advantages_PG = group_advantages(
      rewards_B.reshape(-1, config.group_size),
      normalize_std=config.normalize_std)
  repeated = [p for p in prompts for _ in range(config.group_size)]
  return lay_out(repeated, samples, rewards_B,
                 np.asarray(advantages_PG).reshape(-1), config.seq_len), texts


def lay_out(prompts: Sequence[Sequence[int]], samples: Samples,
            rewards_B: np.ndarray, advantages_B: np.ndarray,
            seq_len: int) -> Rollouts:
  """Joins prompts and completions into rows of `seq_len`.

  Args:
    prompts: B token lists.
    samples: host `Samples` of B rows.
    rewards_B: of each.
    advantages_B: of each.
    seq_len: T, at least the longest prompt and completion together.
  """
  shape = (len(prompts), seq_len + 1)
  tokens_BS, mask_BS = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
  logprobs_BS = np.zeros(shape, np.float32)
  for row, prompt in enumerate(prompts):
    length = int(samples.lengths_B[row])
    start, end = len(prompt), len(prompt) + length
    tokens_BS[row, :start] = prompt
    tokens_BS[row, start:end] = samples.tokens_BT[row, :length]
    logprobs_BS[row, start:end] = samples.logprobs_BT[row, :length]
    mask_BS[row, start:end] = 1.0
  # What belongs to a token as a target stands one place before it.
  return Rollouts(
      tokens_BT=tokens_BS[:, :-1], targets_BT=tokens_BS[:, 1:],
      loss_mask_BT=mask_BS[:, 1:], old_logprobs_BT=logprobs_BS[:, 1:],
      advantages_B=advantages_B, rewards_B=rewards_B,
      lengths_B=samples.lengths_B, stopped_B=samples.stopped_B)
