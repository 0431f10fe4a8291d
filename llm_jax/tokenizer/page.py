"""Pages of tokens, offline, each in one file.

`tokens_page`: one types and sees them. The vocabularies are in the page, and
`live.js` encodes with them as one types. `conversations_page`: which tokens of
conversations are trained.
"""

from __future__ import annotations

import html
import json
import pathlib
from collections.abc import Mapping, Sequence

from llm_jax.tokenizer.live import live_vocabulary
from llm_jax.tokenizer.protocol import Tokenizer, without_surrogates
from llm_jax.tokenizer.view import TRAINED, UNTRAINED, TokenView

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


def conversations_page(views: Sequence[tuple[str, TokenView]]) -> str:
  """The HTML of a page of conversations, coloured by what is trained.

  Args:
    views: (where it is from, its tokens with their loss mask) of each.
  """
  legend = "".join(
      f'<span style="background:{colour};padding:.1rem .4rem;border-radius:3px;'
      f'margin-right:1rem">{words}</span>'
      for colour, words in ((TRAINED, "trained"), (UNTRAINED, "not trained")))
  sections = "\n".join(
      f"<section><h2>{html.escape(name)}</h2><p>{view.summary()}</p>"
      f"{view.html()}</section>" for name, view in views)
  page = (_FOLDER / "conversations.html").read_text(encoding="utf-8")
  before, _, after = page.partition("LEGEND")
  middle, _, end = after.partition("SECTIONS")
  return before + legend + middle + sections + end
