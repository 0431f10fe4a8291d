"""Programs that a model wrote, and the tests that they are to pass.

The program and its tests run as one, in a sandbox (`inference/sandbox`), and
behind the last test a number is printed that was drawn for this run. A program
has passed where that number is the last thing printed and nothing failed: one
that ends early, or swallows what a test raises, has not. That guards against
what a policy stumbles on, not against a program written to deceive: it shares
its process with the tests, and could look for the number.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from llm_jax.config import ConfigError, RlDataConfig
from llm_jax.config_tools import ToolsConfig
from llm_jax.inference.sandbox.protocol import Result, Sandbox
from llm_jax.inference.tools import load_sandbox
from llm_jax.rl.answers import without_thought

_BLOCK = re.compile(r"^```(?:python|py|python3)?[ \t]*\n(.*?)^```[ \t]*$",
                    re.DOTALL | re.MULTILINE | re.IGNORECASE)


class CodeVerifier:
  """Runs programs with tests; may be called by several threads.

  Args:
    config: sandbox, allow_partial_sandbox, limits.

  Raises:
    ConfigError: this machine has no such sandbox.
  """

  def __init__(self, config: RlDataConfig):
    try:
      self._sandbox: Sandbox = load_sandbox(ToolsConfig(
          sandbox=config.sandbox,
          allow_partial_sandbox=config.allow_partial_sandbox))
    except ConfigError as error:
      # The same settings have other names here.
      raise ConfigError(str(error).replace("tools.", "data.")) from error
    self._limits = config.limits

  def passes(self, program: str, tests: str) -> float:
    """1 where `program` runs and every one of `tests` holds, else 0.

    Raises:
      ConfigError: the sandbox could not be started.
    """
    return float(self.run(program, tests)[0])

  def run(self, program: str, tests: str) -> tuple[bool, Result]:
    """(whether all tests passed, what the sandbox says); see `passes`."""
    number = str(secrets.randbits(64))
    code = f"{program}\n\n{tests}\n\nprint()\nprint({number})\n"
    result = self._sandbox.run(code, self._limits)
    last = result.output.rstrip("\n").rpartition("\n")[2]
    return not result.error and last == number, result


def program_of(text: str) -> str:
  """The program in a completion: its last block of code, else all of it."""
  text = without_thought(text)
  blocks = _BLOCK.findall(text)
  return blocks[-1] if blocks else text


def completed(program: str, prompt: str, entry_point: str) -> str:
  """A program that defines `entry_point`, as HumanEval (Chen et al. 2021) asks.

  Its prompts are the beginning of a function; a model may write the function
  anew, or only go on. What goes on needs the prompt before it, and what is
  written anew the imports that the prompt has.
  """
  if re.search(rf"^(?:async )?def {re.escape(entry_point)}\b", program,
               re.MULTILINE):
    # What must stand first in a program may already stand there.
    imports = [] if "from __future__" in program else re.findall(
        r"^(?:import|from) .+$", prompt, re.MULTILINE)
    return "\n".join([*imports, program])
  return prompt + program


def human_eval_tests(test: str, entry_point: str) -> str:
  """HumanEval's `test`, which defines `check`, with the call of it."""
  return f"{test}\n\ncheck({entry_point})"


def listed_tests(tests: Sequence[str], setup: str = "") -> str:
  """Tests as a list of statements, such as MBPP has (Austin et al. 2021)."""
  return "\n".join([setup, *tests])
