"""The usual ways in which reinforcement learning learns nothing, by name.

Nothing here changes a run: a sentence is printed, once for each trouble, with
what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from llm_jax.rl.collector import Collected

# A mean of |log ratio| that no rounding explains, whatever the dtype.
_RATIO_BOUND = 0.02
# Shares of the first step's entropy, and nats, below which it has collapsed.
_ENTROPY_SHARE, _ENTROPY = 0.1, 0.05


class Diagnostics:
  """Looks at each step of a run and tells what is wrong, once each.

  Args:
    compares_groups: whether a sample is compared with the others of its prompt.
  """

  def __init__(self, compares_groups: bool = True) -> None:
    self._compares_groups = compares_groups
    self._told: set[str] = set()
    self._entropy: float | None = None  # of the first step that was seen

  def look(self, step: int, collected: Collected,
           ratio_error: float = 0.0) -> list[str]:
    """Prints and returns the sentences that are new.

    Args:
      step: of the run.
      collected: what it trains on.
      ratio_error: before the first update, where it was measured: mean
        |log ratio| of the trainer's probabilities to the sampler's.
    """
    found = list(self._troubles(step, collected, ratio_error))
    new = [(name, text) for name, text in found if name not in self._told]
    self._told |= {name for name, _ in new}
    sentences = [f"step {step}: {text}" for _, text in new]
    if jax.process_index() == 0:
      for sentence in sentences:
        print(f"rl: {sentence}", flush=True)
    return sentences

  def _troubles(self, step: int, collected: Collected, ratio_error: float
                ) -> Iterator[tuple[str, str]]:
    """(name, sentence) of what is wrong with a step."""
    rollouts, told = collected.rollouts, collected.metrics
    rewards_B = rollouts.rewards_B
    all_faulty = told.get("faulty", 0.0) == 1.0
    if all_faulty:
      yield "faults", (
          "a reward failed on every sample, so nothing can be learnt; correct "
          "it, as is told beside this")
    for fault in collected.faults:
      # What comes before it names the reward and what happened to it.
      yield fault.split("; at row")[0], (
          f"{fault}; rewards.on_error says what becomes of such samples")
    if not all_faulty and rewards_B.size and np.ptp(rewards_B) == 0:
      yield "rewards", (
          f"all {len(rewards_B)} rewards are {rewards_B[0]:g}, so no sample is "
          "better than another; look into rollouts.jsonl: if the answers are "
          "wrong, take easier problems or finetune longer first, if they are "
          "right, the reward misreads them, or there is nothing left to learn")
    elif (self._compares_groups and not all_faulty
          and told.get("zero_variance", 0.0) == 1.0):
      yield "groups", (
          "the samples of each prompt all have the same reward, so all "
          "advantages are zero; raise group_size or sampling.temperature, or "
          "take problems that are neither always nor never solved")
    if rollouts.stopped_B.size and not rollouts.stopped_B.any():
      yield "truncated", (
          "no sample ended by itself, all were cut at the length limit; raise "
          "sampling.max_new_tokens (and seq_len), or finetune the model to end "
          "its answers")
    if not rollouts.loss_mask_BT.any():
      yield "mask", (
          "the loss mask is empty: no token of this batch is trained; rows are "
          "left out that are faulty or, with refill_rounds, that have the "
          "rewards of their siblings")
    if ratio_error > _RATIO_BOUND and collected.sampled_after == step - 1:
      yield "ratio", (
          "the trainer gives what was just sampled other log-probabilities "
          f"than the sampler did, {ratio_error:.3g} apart on average, where "
          "both should be one policy; use the same dtypes for both, or set "
          "objective.importance_cap to weigh the difference")
    entropy = told.get("entropy", 0.0)
    if self._entropy is None:
      self._entropy = entropy
    if entropy < min(_ENTROPY, _ENTROPY_SHARE * self._entropy):
      yield "entropy", (
          f"the entropy has fallen from {self._entropy:.3g} to {entropy:.3g} "
          "nats per token, so all samples of a prompt are nearly alike; lower "
          "the learning rate, raise clip_high, or add an entropy bonus or a KL "
          "to the first model")
