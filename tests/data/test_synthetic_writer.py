"""The writer asks a server, and its wordings pass a gate of their own."""

import http.server
import json
import threading

import numpy as np
import pytest

from llm_jax.config import ConfigError, WriterConfig
from llm_jax.data import synthetic
from llm_jax.data.conversations import single_turn
from llm_jax.data.synthetic.drafts import Draft
from llm_jax.data.synthetic.writer import (
    INSTRUCTION, keeps_its_meaning, rephrase)
from tests.data import synthetic_material as given


@pytest.fixture
def server():
  """An endpoint that answers by `server.write`, and keeps what it was sent."""
  class Handler(http.server.BaseHTTPRequestHandler):

    def do_POST(self):  # noqa: N802 - their name
      body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
      httpd.asked.append((self.path, body, self.headers["Authorization"]))
      status, reply = httpd.write(body["messages"][-1]["content"])
      self.send_response(status)
      self.end_headers()
      self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *args):
      pass

  httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  httpd.asked, httpd.write = [], lambda prompt: (200, reply(
      "Could you say: " + prompt.removeprefix(INSTRUCTION)))
  httpd.address = f"http://127.0.0.1:{httpd.server_port}/v1"
  threading.Thread(target=httpd.serve_forever, daemon=True).start()
  yield httpd
  httpd.shutdown()
  httpd.server_close()


def reply(text):
  return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def test_questions_are_rephrased_and_answers_kept(server, tmp_path,
                                                  monkeypatch):
  monkeypatch.setenv("WRITER_KEY", "sesame")
  config = given.config(given.write_people(tmp_path), facts=12, spelling=8)
  writer = WriterConfig(server.address, "scribe", "WRITER_KEY", share=0.5)
  plain, _ = synthetic.make_conversations(config, "train")
  assert not server.asked  # nobody is asked where no endpoint is named
  made, manifest = synthetic.make_conversations(config, "train", writer=writer)
  questions = [c.messages[0]["content"] for c in made]
  rephrased = [q for q in questions if q.startswith("Could you say: ")]
  assert 4 <= len(rephrased) <= 16
  assert [c.messages[-1] for c in made] == [c.messages[-1] for c in plain]
  assert {c.source for c in made} == {"", "scribe"}
  assert manifest["facts"]["dropped"]["wording"] == 0
  path, body, key = server.asked[0]
  assert path == "/v1/chat/completions" and key == "Bearer sesame"
  assert body["model"] == "scribe" and body["temperature"] == 1.0
  # What is held out is asked in our own words.
  before = len(server.asked)
  synthetic.make_conversations(config, "validation", writer=writer)
  assert len(server.asked) == before


def test_wordings_that_lose_something_are_dropped(server, tmp_path):
  server.write = lambda prompt: (200, reply("Where is that person from?"))
  config = given.config(given.write_people(tmp_path), facts=10)
  made, manifest = synthetic.make_conversations(
      config, "train", writer=WriterConfig(server.address, "m", share=0.5))
  assert len(made) == 10 and manifest["facts"]["dropped"]["wording"] > 2
  assert not any("that person" in c.messages[0]["content"] for c in made)


@pytest.mark.parametrize("question, answer, written, right", [
    ("Where was Ada Brown born?", "In Lyon.", "Ada Brown's birthplace?", True),
    ("Where was Ada Brown born?", "In Lyon.", "Where was Ada born?", False),
    ("Where was Ada Brown born?", "In Lyon.", "Ada Brown is from Lyon?", False),
    ("Where was Ada Brown born?", "In Lyon.", "Where was Ada Brown born?",
     False),
    ("Where was Ada Brown born?", "In Lyon.", "Sure:\nAda Brown is from?",
     False),
    ("Where was Ada Brown born?", "In Lyon.", "Ada Brown " * 20, False),
    ("Spell 'straw'.", "s-t-r-a-w", "Say the letters of 'straw'.", True),
    ("Spell 'straw'.", "s-t-r-a-w", "Say the letters of straw.", False),
    ("What is 12 + 34?", "#### 46", "Add 12 and 34.", True),
    ("What is 12 + 34?", "#### 46", "Why is 12 plus 34 equal to 46?", False),
    ("What is 12 + 34? Steps first.", "2+4+0=6, 1+3+0=4\n#### 46",
     "Add 12 and 34.", False)])
def test_what_keeps_its_meaning(question, answer, written, right):
  keys = (("person", "Ada Brown"),) if "Ada" in question else ()
  draft = Draft(single_turn(written, answer), keys, "t",
                single_turn(question, answer))
  assert keeps_its_meaning(draft) == right


def test_conversations_of_several_questions_stay(server, tmp_path):
  config = given.config(given.write_people(tmp_path), multi_turn=5)
  writer = WriterConfig(server.address, "m", share=1.0)
  assert (synthetic.make_conversations(config, "train", writer=writer)
          == synthetic.make_conversations(config, "train"))
  assert not server.asked


def one(server, **settings):
  draft = Draft(single_turn("Spell 'straw'.", "s-t-r-a-w"), (), "t")
  return list(rephrase(iter([draft]), WriterConfig(
      server.address, "m", share=1.0, **settings), np.random.default_rng(0)))


def test_a_server_that_falters_is_asked_again(server):
  replies = iter([(503, {}), (429, {}), (200, reply("How is 'straw' spelt?"))])
  server.write = lambda prompt: next(replies)
  assert one(server)[0].conversation.messages[0]["content"] == (
      "How is 'straw' spelt?")


@pytest.mark.parametrize("status, said, expected", [
    (401, {}, "cannot be asked .*401"), (500, {}, "cannot be asked .*500"),
    (200, {"error": "no"}, "answered in another form than OpenAI's")])
def test_servers_that_do_not_answer(server, status, said, expected):
  server.write = lambda prompt: (status, said)
  with pytest.raises(ConfigError, match=expected):
    one(server)
  assert len(server.asked) == (3 if status == 500 else 1)


@pytest.mark.parametrize("settings, expected", [
    ({"endpoint": "http://x"}, "writer.endpoint is given without"),
    ({"endpoint": "x", "model": "m"}, "begins with http"),
    ({"share": 2}, "writer.share is 2"),
    ({"temperature": -1}, "writer.temperature is -1"),
    ({"concurrency": 0}, "writer.concurrency is 0")])
def test_impossible_writers(settings, expected):
  with pytest.raises(ConfigError, match=expected):
    WriterConfig(**settings).validate()
