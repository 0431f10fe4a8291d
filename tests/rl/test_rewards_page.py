"""The Python in docs/rewards.md runs, and its tables name what there is."""

import pathlib
import re

from llm_jax.config_tasks import REWARDS, VERIFIERS
from llm_jax.rl.environments.games import GAMES
from llm_jax.rl.rewards import user_function

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "rewards.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_code_runs():
  assert len(BLOCKS) == 5
  for code in BLOCKS:
    exec(compile(code, "rewards.md", "exec"), {"__name__": "page"})


def test_the_functions_are_rewards(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text(next(c for c in BLOCKS if "def brevity" in c))
  rows = [{"prompt": "?", "completion": text, "answer": "4", "level": 2}
          for text in ("It is 4.", "It is well known that 3")]
  worth = {name: [v["value"] for v in user_function.load(str(file), name)(rows)]
           for name in ("brevity", "near", "shortest")}
  assert worth["brevity"] == [0.97, 0.94]
  assert worth["near"] == [0.5, 0.25]
  assert worth["shortest"] == [1.0, 0.0]


def test_the_tables_are_whole():
  for name in (*REWARDS, *(v for v in VERIFIERS if v != "auto"), *GAMES):
    assert f"`{name}`" in PAGE, name
