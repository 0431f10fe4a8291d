"""The page of tokens: in one file, harmless, and alive."""

import json
import random
import re
import shutil
import subprocess

import pytest

from llm_jax.config import TokenizerConfig
from llm_jax.tokenizer.bpe import BpeTokenizer
from llm_jax.tokenizer.page import tokens_page
from llm_jax.tokenizer.sentencepiece import train_sentencepiece
from llm_jax.tokenizer.view import visible

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None, reason="node (nodejs.org) is not installed: nothing here to "
    "run the page's scripts with")

# As much of a browser as the page asks for. Runs the page's scripts, types
# each text, ticks the box, and prints what stands in each column.
_BROWSER = """
const fs = require("fs");
const {scripts, data, typed} = JSON.parse(fs.readFileSync(0, "utf8"));
class Element {
  constructor() {
    Object.assign(this, {children: [], listeners: {}, textContent: "",
                         className: "", value: "", checked: false, title: ""});
    this.classList = {toggle: (name, on) => { this[name] = on; }};
  }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  insertBefore(child, place) {
    this.children.splice(this.children.indexOf(place), 0, child);
  }
  addEventListener(kind, listener) { this.listeners[kind] = listener; }
}
const named = {text: new Element(), ids: new Element(),
               columns: new Element(), data: new Element()};
named.data.textContent = data;
globalThis.document = {getElementById: (id) => named[id],
                       createElement: () => new Element()};
(0, eval)(scripts.join("\\n"));
const look = () => named.columns.children.map((section) => {
  const [head, count, ...rest] = section.children;
  const tokens = rest[rest.length - 1];
  return {name: head.textContent, count: count.textContent,
          note: rest.length > 1 ? rest[0].textContent : "",
          shown: tokens.children.map((span) => span.textContent),
          titles: tokens.children.map((span) => span.title)};
});
const seen = [look()];
for (const text of typed) {
  named.text.value = text;
  named.text.listeners.input();
  seen.push(look());
}
named.ids.checked = true;
named.ids.listeners.change();
seen.push(look());
process.stdout.write(JSON.stringify(seen));
"""


def parts(page):
  """The data and the scripts of a page."""
  data = re.search(r'<script type="application/json" id="data">(.*?)</script>',
                   page, re.DOTALL)[1]
  return data, re.findall(r"<script>\n(.*?)</script>", page, re.DOTALL)


def browse(page, typed):
  data, scripts = parts(page)
  done = subprocess.run(
      [NODE, "-e", _BROWSER], text=True, timeout=60, capture_output=True,
      input=json.dumps({"scripts": scripts, "data": data, "typed": typed}),
      check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout)


@pytest.fixture(scope="module")
def pieces(corpus):
  return train_sentencepiece(corpus, TokenizerConfig(
      kind="sentencepiece", vocab_size=800))


@needs_node
def test_it_shows_what_is_typed(bpe, pieces):
  tokenizers = {"ours": bpe, "pieces": pieces}
  typed = ["The year 1984,\n<b>naïve</b> \x1b[0m 数", "", "\ufeff\u2028 🙂"]
  seen = browse(tokens_page("at first", tokenizers), typed)
  for text, columns in zip(["at first", *typed], seen):
    for column, (name, tokenizer) in zip(columns, tokenizers.items(),
                                         strict=True):
      ids = tokenizer.encode(text)
      spelled = [tokenizer.token_bytes(i) for i in ids]
      assert column["name"] == name and not column["note"]
      assert column["shown"] == list(map(visible, spelled))
      assert column["titles"] == [
          f"id {i}, bytes {b.hex(' ')}" for i, b in zip(ids, spelled)]
      assert column["count"].startswith(f"{len(ids)} tokens")
  last = bpe.encode(typed[-1])
  assert seen[-1][0]["shown"] == list(map(str, last))
  size = len(typed[-1].encode()) / len(last)
  assert seen[-1][0]["count"] == (
      f"{len(last)} tokens, {size:.2f} bytes per token")


@needs_node
def test_one_that_cannot_run_shows_the_first_text_and_says_why(bpe):
  odd = BpeTokenizer(bpe.ranks, {}, r"(?>\s+)|\S+")
  seen = browse(tokens_page("a bc", {"odd": odd}), ["something else"])
  for [column] in seen[:2]:
    assert "".join(column["shown"]) == "a bc"
    assert "only the text" in column["note"].lower()
    assert "(?>" in column["note"]


@needs_node
def test_bytes_are_shown_as_python_shows_them():
  rng = random.Random(0)
  tokens = [bytes(rng.choices(range(256), k=rng.randrange(1, 7)))
            for _ in range(300)]
  tokens += [("é数🙂\u200d\u00a0\u2028\ufeff\x7f" * 2).encode()[i:i + 5]
             for i in range(40)]
  _, scripts = parts(tokens_page("", {}))
  done = subprocess.run(
      [NODE, "-e", scripts[0] + """
       const tokens = JSON.parse(require("fs").readFileSync(0, "utf8"));
       process.stdout.write(JSON.stringify(tokens.map(visible)));"""],
      input=json.dumps([list(token) for token in tokens]), text=True,
      capture_output=True, timeout=60, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  assert json.loads(done.stdout) == list(map(visible, tokens))


def test_the_page_is_one_file_and_the_text_does_no_harm(bpe):
  text = "</script><script>alert(1)</script><!-- &amp;"
  page = tokens_page(text, {"<i>": bpe})
  data, scripts = parts(page)
  assert json.loads(data)["text"] == text
  assert "<" not in data and len(scripts) == 2 and "alert(1)" in data
  assert not re.search(r"https?://|src=|@import|fetch\(", page.replace(
      data, ""))
