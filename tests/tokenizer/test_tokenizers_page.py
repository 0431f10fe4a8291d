"""What docs/tokenizers.md shows in a notebook runs."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "tokenizers.md"


def test_the_code_of_the_page():
  [code] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(),
                      flags=re.DOTALL | re.MULTILINE)
  *before, last = code.strip().splitlines()
  names = {}
  exec("\n".join(before), names)
  comparison = eval(last, names)
  counts = {name: len(view.ids) for name, view in comparison.views.items()}
  assert counts["3 digits"] < counts["1 digit"]
