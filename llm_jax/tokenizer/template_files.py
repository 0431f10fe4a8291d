"""The chat templates that we wrote, as the Jinja files in `templates/`."""

from __future__ import annotations

import functools
import pathlib
import re

_FOLDER = pathlib.Path(__file__).parent / "templates"


@functools.cache
def read_template(name: str) -> str:
  """The Jinja program `templates/<name>.jinja`."""
  return (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8").strip()


def without_generation(template: str) -> str:
  """A template without `{% generation %}`, which not all programs know.

  They are taken out of ours, whose tags strip the white space around them.
  """
  return re.sub(r"\{%-? *(end)?generation *-?%\}", "", template)
