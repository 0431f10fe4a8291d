"""A page on which one types and sees the tokens, offline, in one file.

The vocabularies are in the page, and `live.js` encodes with them as one types.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

from llm_jax.tokenizer.live import live_vocabulary
from llm_jax.tokenizer.protocol import Tokenizer, without_surrogates

_FOLDER = pathlib.Path(__file__).parent


def tokens_page(text: str, tokenizers: Mapping[str, Tokenizer]) -> str:
  """The HTML of a page that begins with `text`.

  Args:
    text: what stands in the text box at first.
    tokenizers: name -> vocabulary, in the order of the columns. One that a
      browser cannot run shows the tokens of `text` only, and says why.
  """
  text = without_surrogates(text)
  vocabularies = []
  for name, tokenizer in tokenizers.items():
    vocabulary = live_vocabulary(tokenizer)
    static = vocabulary["kind"] == "static"
    rendered = [[i, list(tokenizer.token_bytes(i))]
                for i in tokenizer.encode(text)] if static else []
    vocabularies.append({"name": name, "vocabulary": vocabulary,
                         "rendered": rendered})
  data = json.dumps({"text": text, "vocabularies": vocabularies},
                    ensure_ascii=False, separators=(",", ":"))
  page = (_FOLDER / "page.html").read_text(encoding="utf-8")
  script = (_FOLDER / "live.js").read_text(encoding="utf-8")
  before, _, after = page.partition("DATA")
  middle, _, end = after.partition("SCRIPT")
  # What could end the element, or begin a comment, is escaped.
  return before + data.replace("<", "\\u003c") + middle + script + end
