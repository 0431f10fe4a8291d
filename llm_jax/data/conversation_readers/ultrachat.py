"""UltraChat (Ding et al. 2023, arXiv:2305.14233): texts in turn.

    {"id": "0", "data": ["a question", "its answer", "the next question", ...]}

Its 200k variant has `messages`, and is read as those.
"""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]


def reads(fields: Fields) -> bool:
  """Whether a record has this form."""
  data = fields.get("data")
  return isinstance(data, list) and all(isinstance(x, str) for x in data)


def read(fields: Fields) -> list[tuple[Any, list[Any]]]:
  """The one conversation of a record; the user speaks first."""
  return [([{"role": ("user", "assistant")[i % 2], "content": text}
            for i, text in enumerate(fields["data"])], [])]
