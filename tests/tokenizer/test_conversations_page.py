"""The Python of docs/conversations.md runs, and what it asserts holds."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "conversations.md"


def test_the_page():
  found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(),
                     flags=re.DOTALL | re.MULTILINE)
  assert found
  for code in found:
    names = {}
    exec(compile(code, PAGE.name, "exec"), names)
  assert names["view"].summary().startswith(f"{len(names['ids'])} tokens")
