"""docs/inference.md: its blocks, one after the other, as a reader would."""

import pathlib
import re

import numpy as np
import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "inference.md"


@pytest.mark.slow
def test_the_page_runs(capsys):
  pytest.importorskip("llguidance")
  blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(),
                      flags=re.DOTALL | re.MULTILINE)
  assert len(blocks) == 6
  names = {}
  for number, block in enumerate(blocks):
    exec(compile(block, f"block {number}", "exec"), names)
  assert "guesses kept per reading" in capsys.readouterr().out
  assert names["answers"].complete_B.all()
  assert re.fullmatch("(yes|no), [a-z]{3,8}", names["answers"].texts[0])
  # The stream is row 0 of a batch with the same key.
  samples = names["generate_tokens"](
      names["params"], names["prompts"], names["jax"].random.key(0),
      names["sampling"], names["config"], prompt_len=16,
      stop_ids=names["stop_ids"])
  row = samples.tokens_BT[0, :samples.lengths_B[0]]
  row = row[~np.isin(row, names["stop_ids"])]
  assert names["tokenizer"].decode(row) == names["text"]
