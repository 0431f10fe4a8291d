"""The chat templates that we wrote, as the Jinja files in `templates/`.

`ours.jinja` says what `chat.py` does; the others are the forms of families of
models, for a vocabulary that has their tokens and a checkpoint that came with
no template, or with another.
"""

from __future__ import annotations

import functools
import pathlib
import re

_FOLDER = pathlib.Path(__file__).parent / "templates"

# Name -> the special tokens that it writes.
TOKENS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "qwen": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
               "<|eot_id|>"),
    "gemma": ("<bos>", "<start_of_turn>", "<end_of_turn>"),
}


@functools.cache
def read_template(name: str) -> str:
  """The Jinja program `templates/<name>.jinja`."""
  return (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8").strip()


def without_generation(template: str) -> str:
  """A template without `{% generation %}`, which not all programs know.

  They are taken out of ours, whose tags strip the white space around them.
  """
  return re.sub(r"\{%-? *(end)?generation *-?%\}", "", template)
