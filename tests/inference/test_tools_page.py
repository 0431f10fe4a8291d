"""docs/tools.md: its blocks, one after the other, as a reader would."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "tools.md"


def test_the_page_runs():
  blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(),
                      flags=re.DOTALL | re.MULTILINE)
  assert len(blocks) == 2
  names = {}
  for number, block in enumerate(blocks):
    exec(compile(block, f"block {number}", "exec"), names)
  assert names["results"] == [
      "341.333333333", "Ada Lovelace: Ada Lovelace was born in 1815.",
      "There is no page 'Rome'.", "It rains in Paris.",
      "Error: there is no tool 'wether'; there are: calculator, search, open, "
      "weather."]
  assert names["service"] == "All there is."
  assert names["squares"].output == "[0, 1, 4, 9, 16]\n"
  if "secret" in names:
    assert names["secret"].output == ""
    assert "No such file" in names["secret"].error
