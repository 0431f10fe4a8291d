"""Scored traces, laid out for the train step.

A row is a conversation, contiguous and padded on the right, so that training
reads exactly the positions that sampling wrote. The shape is fixed by the
config, so nothing is compiled twice. Rollouts that wait to be trained on are
part of a checkpoint, as the text that `to_json` makes of them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import flax.struct
import numpy as np

from llm_jax.config import ModelConfig, RlConfig, require
from llm_jax.inference.tools import Tool
from llm_jax.rl.environments.protocol import Environment, Levelled
from llm_jax.rl.traces import Trace, encode_prompts
from llm_jax.tokenizer.protocol import Tokenizer

_LOOKED_AT = 64  # problems whose lengths are counted before a run begins


@flax.struct.dataclass
class Rollouts:
  """B = P·G rows, those of a prompt beside each other; NumPy arrays.

  Attributes:
    tokens_BT: int32 inputs: prompt, answers and what came between, zeros.
    targets_BT: int32; `tokens_BT` shifted by one.
    loss_mask_BT: float32; 1 where the target was generated, stop tokens too,
      and the row is trained on.
    sampler_logprobs_BT: float32; of those targets, when they were sampled.
    rewards_B: float32; of each row.
    correct_B: float32; what the task's own verifier says of each.
    valid_B: whether the row is trained on.
    lengths_B: int32 generated tokens.
    stopped_B: whether a stop token ended the row.
  """
  tokens_BT: np.ndarray
  targets_BT: np.ndarray
  loss_mask_BT: np.ndarray
  sampler_logprobs_BT: np.ndarray
  rewards_B: np.ndarray
  correct_B: np.ndarray
  valid_B: np.ndarray
  lengths_B: np.ndarray
  stopped_B: np.ndarray

  def batch(self) -> dict[str, np.ndarray]:
    """What `credit.assign_credit` completes for the losses."""
    return {"tokens": self.tokens_BT, "targets": self.targets_BT,
            "loss_mask": self.loss_mask_BT,
            "sampler_logprobs": self.sampler_logprobs_BT}


def prompt_slots(config: RlConfig, model: ModelConfig) -> int:
  """Tokens of a row that a prompt may take; raises `ConfigError` for none."""
  require(config.seq_len <= model.max_seq_len, f"seq_len={config.seq_len} is "
          f"more than the model's max_seq_len={model.max_seq_len}; lower it.")
  slots = config.seq_len - config.sampling.max_new_tokens
  require(slots > 0, f"seq_len={config.seq_len} leaves no room for a prompt "
          f"beside sampling.max_new_tokens={config.sampling.max_new_tokens}; "
          "raise the first or lower the second.")
  return slots


def check_prompts(environment: Environment, config: RlConfig,
                  model: ModelConfig, tokenizer: Tokenizer,
                  tools: Sequence[Tool] = ()) -> None:
  """Raises `ConfigError` for problems that a row of the config cannot hold.

  Of files those with the longest texts are looked at, of what is made as it is
  asked for some of each side.
  """
  for part in getattr(environment, "parts", (environment,)):
    _check_prompts(part, prompt_slots(config, model), config, tokenizer, tools)


def _check_prompts(environment: Environment, slots: int, config: RlConfig,
                   tokenizer: Tokenizer, tools: Sequence[Tool]) -> None:
  if hasattr(environment, "all_problems"):
    problems = environment.all_problems()
  else:
    number = min(_LOOKED_AT, config.data.eval_problems)
    problems = [*environment.held_out_problems(number),
                *environment.train_problems(0, _LOOKED_AT)]
    if isinstance(environment, Levelled) and config.data.curriculum.kind != (
        "none"):
      problems += environment.train_problems_at(
          0, [environment.num_levels - 1] * _LOOKED_AT)
  problems = sorted(problems, key=lambda p: -len(p.system + p.prompt))
  lengths = [len(ids) for ids in encode_prompts(
      problems[:_LOOKED_AT], tokenizer, tools, environment)]
  longest = max(lengths)
  text = problems[lengths.index(longest)].prompt
  require(longest <= slots, f"the problem {text[:60]!r} has {longest} tokens, "
          f"but seq_len={config.seq_len} less sampling.max_new_tokens="
          f"{config.sampling.max_new_tokens} leaves room for {slots}; raise "
          "the first, lower the second, or leave such problems out.")


def lay_out(traces: Sequence[Trace], rewards_B: np.ndarray,
            correct_B: np.ndarray, valid_B: np.ndarray,
            seq_len: int) -> Rollouts:
  """Pads traces to rows of `seq_len`.

  Args:
    traces: B of them.
    rewards_B: of each.
    correct_B: of each.
    valid_B: rows that are not have a loss mask of zeros.
    seq_len: T, at least the longest trace less one.
  """
  shape = (len(traces), seq_len + 1)
  tokens_BS, mask_BS = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
  logprobs_BS = np.zeros(shape, np.float32)
  for row, trace in enumerate(traces):
    length = len(trace.tokens)
    tokens_BS[row, :length] = trace.tokens
    mask_BS[row, :length] = trace.mask
    logprobs_BS[row, :length] = trace.logprobs
  mask_BS *= np.asarray(valid_B, np.float32)[:, None]
  # What belongs to a token as a target stands one place before it.
  return Rollouts(
      tokens_BT=tokens_BS[:, :-1], targets_BT=tokens_BS[:, 1:],
      loss_mask_BT=mask_BS[:, 1:], sampler_logprobs_BT=logprobs_BS[:, 1:],
      rewards_B=np.asarray(rewards_B, np.float32),
      correct_B=np.asarray(correct_B, np.float32),
      valid_B=np.asarray(valid_B, bool),
      lengths_B=np.array([sum(trace.mask) for trace in traces], np.int32),
      stopped_B=np.array([trace.completion.stopped for trace in traces], bool))


def to_json(rollouts: Rollouts) -> str:
  """The arrays as text, bit for bit; `from_json` reads it."""
  arrays = {name: getattr(rollouts, name)
            for name in Rollouts.__dataclass_fields__}
  file = io.BytesIO()
  np.savez_compressed(file, **arrays)
  return base64.b64encode(file.getvalue()).decode("ascii")


def from_json(text: str) -> Rollouts:
  """The rollouts that `to_json` wrote."""
  with np.load(io.BytesIO(base64.b64decode(text))) as arrays:
    return Rollouts(**{name: arrays[name] for name in arrays.files})
