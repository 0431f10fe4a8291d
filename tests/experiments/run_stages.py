"""Runs training stages in a process of their own, which may be killed.

    python run_stages.py '[["pretrain", ["--num_steps=9"], ""], ...]'

The third of each is where the process kills itself: "" nowhere, "step 6" once
step 6 has been dispatched and a checkpoint is whole, "now 6" whether one is or
not, "save 8" in the midst of writing the checkpoint of step 8. SIGKILL cannot
be caught: nothing is flushed, closed or removed, as when a machine is switched
off. With "term 6" it sends itself SIGTERM once step 6 has been dispatched.
"""

import importlib
import json
import pathlib
import signal
import sys
import time

from llm_jax import config, config_flags
from llm_jax.metrics import MetricLogger
from llm_jax.rl.environments.sums import SumsEnvironment
from llm_jax.training.checkpoints import Checkpointer

CONFIGS = {"pretrain": config.PretrainConfig, "sft": config.SftConfig,
           "rl": config.RlConfig}


def kill_self(number: int = signal.SIGKILL) -> None:
  """As `kill -9`."""
  signal.raise_signal(number)


def kill_when(event: str, number: int, workdir: str) -> None:
  """Arranges for this process to get a signal at step `number`."""
  checkpoints = pathlib.Path(workdir) / "checkpoints"
  log, save = MetricLogger.log, Checkpointer.save

  def log_then_die(self, step, metrics):
    log(self, step, metrics)
    if event == "step" and step == number:
      while not any(p.name.isdigit() for p in checkpoints.iterdir()):
        time.sleep(0.01)
      kill_self()
    if event == "now" and step == number:
      kill_self()
    if event == "term" and step == number:
      kill_self(signal.SIGTERM)

  def save_then_die(self, step, *args):
    save(self, step, *args)
    if event == "save" and step == number:
      kill_self()

  MetricLogger.log, Checkpointer.save = log_then_die, save_then_die


def length_reward(self, problem, completion):
  """What an untrained model gets varied rewards for, so that it learns."""
  return len(completion.text) % 5 / 4


def main() -> None:
  """Runs the stages that the command line names."""
  SumsEnvironment.score = length_reward
  for stage, flags, kill in json.loads(sys.argv[1]):
    chosen = config_flags.parse(CONFIGS[stage], [stage, *flags])
    if kill:
      event, number = kill.split()
      kill_when(event, int(number), chosen.workdir)
    importlib.import_module(f"experiments.{stage}").run(chosen)


if __name__ == "__main__":
  main()
