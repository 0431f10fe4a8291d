"""Runs experiments.rl in a process of its own, which kills itself.

    python run_rl.py '["--num_steps=9", ...]' "rollout 3"

The second argument is where: "rollout 3" when the answers of step 3 are to be
sampled, "reward 3" when they are to be scored, "train 3" when its update has
been dispatched and is awaited, "save 4" when the checkpoint of step 4 is being
written; "" nowhere. SIGKILL cannot be caught: nothing is flushed or closed.
"""

import json
import signal
import sys

import jax

from experiments import rl
from llm_jax import config, config_flags
from llm_jax.rl import collector, traces
from llm_jax.rl.environments.sums import SumsEnvironment
from llm_jax.training.checkpoints import Checkpointer


def kill_when(event: str, number: int) -> None:
  """Arranges for this process to end at an event of step `number`."""
  def wrap(owner, name, step_of):
    before = getattr(owner, name)
    def dying(*args, **options):
      if step_of(args) == number:
        signal.raise_signal(signal.SIGKILL)
      return before(*args, **options)
    setattr(owner, name, dying)

  sampled = {"step": 0}
  collect = collector.Collector.collect
  def noting(self, params, step, *args):
    sampled["step"] = step
    return collect(self, params, step, *args)
  collector.Collector.collect = noting

  def current(args):
    del args
    return sampled["step"]

  if event == "rollout":
    wrap(traces, "sample_answers", current)
  elif event == "reward":
    wrap(collector, "score_traces", current)
  elif event == "train":  # the loop waits for its update
    wrap(jax, "block_until_ready", current)
  elif event == "save":
    save = Checkpointer.save
    def dying(self, step, *args):
      save(self, step, *args)
      if step == number:
        signal.raise_signal(signal.SIGKILL)
    Checkpointer.save = dying


def length_score(self, problem, completion):
  """What an untrained model gets varied rewards for, so that it learns."""
  return len(completion.text) % 5 / 4


if __name__ == "__main__":
  SumsEnvironment.score = length_score
  if sys.argv[2]:
    kill_when(sys.argv[2].split()[0], int(sys.argv[2].split()[1]))
  rl.run(config_flags.parse(config.RlConfig, ["rl", *json.loads(sys.argv[1])]))
