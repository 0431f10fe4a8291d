"""Five manners of answering one question, for `experiments/think.py`.

    What is 7+8+5+9 modulo 2?

    answer first     #### 1           each step       1,1,0,1
                     1,1,0,1                          #### 1
    every 2nd step   1,1              filler          0,0,0,0
                     #### 1                           #### 1

"Answer first" and "each step" have the same tokens in another order: as much
is read and as much is trained. What differs is how many tokens, and of what,
the model has before it when it commits itself. A model does a fixed amount of
work for a token; what it works out over several has to be written down in
between (Wei et al. 2022, "Chain-of-Thought Prompting", arXiv:2201.11903;
Feng et al. 2023, arXiv:2305.15408). The filler is a control: as many tokens,
with nothing in them (Lanham et al. 2023, arXiv:2307.13702, section 2.5).
"""

from __future__ import annotations

import dataclasses
import itertools
import re

from llm_jax.config import require
from llm_jax.config_think import ThinkTaskConfig
from llm_jax.data.sums import MODULUS, SumProblem

ANSWER_FIRST, EACH_STEP, FILLER = "answer first", "each step", "filler"
_ORDINALS = {2: "2nd", 3: "3rd"}
_ANSWER = re.compile(r"(?:\A|\n)#### (\d+)(?=\n|\Z)")


@dataclasses.dataclass(frozen=True)
class Manner:
  """How a demonstration is written.

  Attributes:
    name: what it is called.
    stride: a running remainder is written after every so many terms.
    answer_first: whether the answer comes before them.
    filler: whether zeros stand in their place.
  """
  name: str
  stride: int = 1
  answer_first: bool = False
  filler: bool = False

  def demonstration(self, problem: SumProblem) -> str:
    """A correct answer in this manner."""
    totals = list(itertools.accumulate(problem.terms))
    steps = ",".join(str(total % MODULUS)
                     for total in totals[self.stride - 1::self.stride])
    if self.filler:
      steps = re.sub(r"\d", "0", steps)
    lines = [steps, f"#### {problem.answer()}"]
    return "\n".join(lines[::-1] if self.answer_first else lines)


def manners(config: ThinkTaskConfig) -> list[Manner]:
  """The manners that a config asks for, from no thought to most."""
  found = [Manner(ANSWER_FIRST, answer_first=True)]
  if config.filler:
    found.append(Manner(FILLER, filler=True))
  for stride in sorted(config.strides, reverse=True):
    name = f"every {_ORDINALS.get(stride, f'{stride}th')} step"
    found.append(Manner(EACH_STEP if stride == 1 else name, stride))
  return found


def read_answer(text: str) -> tuple[int | None, str]:
  """(the stated answer, what was written before it).

  The answer stands on a line of its own, "#### N", once; else it is None, and
  all was written before.
  """
  found = list(_ANSWER.finditer(text))
  if len(found) != 1 or text.count("####") != 1:
    return None, text
  return int(found[0][1]), text[:found[0].start()]


def check_manner(config: ThinkTaskConfig, max_new_tokens: int) -> None:
  """Raises `ConfigError` where the longest demonstration cannot be written."""
  # A digit and a comma for each term, and "\n#### N" with the stop token.
  longest = 2 * config.max_terms + 8
  require(max_new_tokens >= longest, f"max_new_tokens is {max_new_tokens}, but "
          f"all steps of {config.max_terms} terms and the answer may take "
          f"{longest}; raise it, or lower task.max_terms.")
