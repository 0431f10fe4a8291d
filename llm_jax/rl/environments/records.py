"""Problems from the user's own file: `prompt`, and an integer `answer`."""

from __future__ import annotations

import numpy as np

from llm_jax.config import RlDataConfig, require
from llm_jax.data.documents import unit_hash
from llm_jax.data.files import RECORD_SUFFIXES, Record, find_files, read_records
from llm_jax.rl.environments.protocol import Problem
from llm_jax.rl.verifiers import answer_reward, is_integer

# Of a small file no more than this share is held out.
_MAX_HELD_OUT_SHARE = 0.1


class RecordsEnvironment:
  """The problems of `.jsonl` or `.parquet` files, in an order of their hashes.

  The first `eval_problems` in that order, but at most a tenth, are held out.
  A prompt that comes twice counts once, the first time, so that none is on
  both sides. The order does not depend on the seed: evaluation is the same
  for every run on the file.

  Args:
    config: path, errors, eval_problems.
    seed: the order of the training problems.

  Raises:
    ConfigError: a file or record that cannot be read, naming it; fewer than
      two problems.
  """

  def __init__(self, config: RlDataConfig, seed: int):
    problems: dict[str, Problem] = {}
    for file in find_files(config.path, RECORD_SUFFIXES):
      for record in read_records(file, ("prompt+answer",), config.errors):
        problem = _problem(record)
        problems.setdefault(problem.prompt, problem)
    require(len(problems) >= 2, f"{config.path} has {len(problems)} problems; "
            "at least two are needed, one to train on and one to hold out.")
    self._path, self._seed = config.path, seed
    self._ordered = sorted(problems.values(),
                           key=lambda p: (unit_hash(p.prompt, 0), p.prompt))
    most = max(1, int(len(problems) * _MAX_HELD_OUT_SHARE))
    self._num_held_out = max(1, min(config.eval_problems, most))
    self._epoch, self._order = -1, np.empty(0, np.int64)

  def train_problems(self, step: int, num_problems: int) -> list[Problem]:
    """See `Environment`; every problem once in each epoch."""
    training = self._ordered[self._num_held_out:]
    chosen = []
    for number in range(step * num_problems, (step + 1) * num_problems):
      epoch, place = divmod(number, len(training))
      chosen.append(training[self._permutation(epoch, len(training))[place]])
    return chosen

  def held_out_problems(self, num_problems: int) -> list[Problem]:
    """See `Environment`; fewer than asked where the file is small."""
    return self._ordered[:min(num_problems, self._num_held_out)]

  def all_problems(self) -> list[Problem]:
    """Every problem, those held out first."""
    return list(self._ordered)

  def reward(self, problem: Problem, completion: str, stopped: bool) -> float:
    """See `Environment`."""
    return answer_reward(completion, stopped, problem.answer)

  def _permutation(self, epoch: int, size: int) -> np.ndarray:
    if self._epoch != epoch:  # The last one is kept.
      self._epoch = epoch
      self._order = np.random.default_rng((self._seed, epoch)).permutation(size)
    return self._order


def _problem(record: Record) -> Problem:
  """A record as a problem; raises `ConfigError` where it is none."""
  prompt, answer = record.fields["prompt"], record.fields["answer"]
  require(isinstance(prompt, str) and bool(prompt.strip()),
          f"{record.source}: `prompt` should be text, and not empty.")
  whole = isinstance(answer, (int, str)) and not isinstance(answer, bool)
  text = str(answer).strip().replace(",", "") if whole else ""
  require(is_integer(text),
          f"{record.source}: `answer` is {answer!r}; it should be an integer, "
          "which the last line of a completion, \"#### N\", is compared with.")
  return Problem(prompt, str(int(text)))
