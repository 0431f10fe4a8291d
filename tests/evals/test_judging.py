"""Verdicts on answers that a reader of them would give, one by one."""

import decimal
import http.server
import json
import threading

import pytest

from llm_jax.config import ConfigError
from llm_jax.config_knowledge import JudgeConfig
from llm_jax.evals.judge_model import model_judge, verdict_in
from llm_jax.evals.judging import (
    CORRECT, REFUSED, WRONG, answer_key, final_number, is_refusal, judge,
    numbers, states, token_f1, words)

STATED = [  # answer, truth
    ("She was born in London in 1984.", "1984"),
    ("1984", "1984"),
    ("1,984 people", "1984"),
    ("(10 December 1815 – 27 November 1852)", "1815"),
    ("1984, not 1985", "1984"),
    ("No, it was 1984.", "1984"),
    ("Was it 1984? Yes, 1984.", "1984"),
    ("in 1984 or so", "1984"),
    ("1984–2001", "1984"),
    ("May 12, 1984", "12 May 1984"),
    ("on the 12th of May, 1984", "1984-05-12"),
    ("There are twenty-four hours.", "24"),
    ("eight", "8"),
    ("3.0", "3"),
    ("-5", "-5"),
    ("12 + 34 = 46", "46"),
    ("#### 46", "46"),
    ("It costs $5.", "5"),
    ("The larger one is 9.9.", "9.9"),
    ("He lived in PARIS.", "Paris"),
    ("Paris's mayor", "Paris"),
    ("in Malmö", "Malmo"),
    ("Springfield, Illinois", "Springfield Illinois"),
    ("At the University of the Arts", "University of Arts"),
    ("He never married, and lived in Paris", "Paris"),
    ("not only in Paris", "Paris"),
    ("nothing but Paris", "Paris"),
    ("He was born in Paris, which is not in Italy.", "Paris"),
    ("“I don't know”, he said in Paris", "Paris"),
]
NOT_STATED = [
    ("", "1984"),
    ("Not in 1984, but a year later.", "1984"),
    ("She was not born in the year 1984", "1984"),
    ("It isn't 1984", "1984"),
    ("It’s not 1984", "1984"),
    ("1984 is wrong", "1984"),
    ("1984 wasn't the year", "1984"),
    ("1984? No, not 1984.", "1984"),
    ("It was 1984. No: it was never 1984.", "1984"),
    ("In 1984 or 1985.", "1984"),
    ("In 1985 or in 1984.", "1984"),
    ("1983, 1984, 1985", "1984"),
    ("between 1980 and 1984", "1984"),
    ("between 1984 and 1990", "1984"),
    ("Was it 1984?", "1984"),
    ("19840", "1984"),
    ("the 1980s", "1980"),
    ("12 May 1985", "12 May 1984"),
    ("1985, not 1984", "1984"),
    ("46 + 1 = 47", "46"),
    ("100 - 54 = 46", "54"),
    ("-5", "5"),
    ("9.11", "9.1"),
    ("eighteen legs", "8"),
    ("twenty-four", "4"),
    ("Parisian", "Paris"),
    ("Paris or London", "Paris"),
    ("London, or Paris", "Paris"),
    ("either Paris", "Paris"),
    ("rather than Paris", "Paris"),
    ("Neither Paris nor London", "London"),
    ("anywhere except Paris", "Paris"),
]
REFUSALS = [
    "I don't know whether it was 1984.",
    "I do not know when she was born.",
    "I am not sure, but I think it was 1984.",
    "I’m sorry, I have no information about 1984.",
    "Sorry, but I cannot find anything on that. 1984",
    "I've never heard of her.",
    "I am unable to say.",
    "I'm not familiar with Ada.",
    "I have no idea!",
    "There is no record of that.",
    "I honestly don't remember.",
    "I DO NOT HAVE ANY INFORMATION on 1984",
    "That is unknown to me.",
]
NO_REFUSALS = [
    "I know: 1984.",
    "She said \"I don't know\" in 1984.",
    "He did not know when he was born; it was 1984.",
    "Nobody knows. It was 1984",
    "I am sure: 1984.",
    "The unknown soldier.",
    "",
]


@pytest.mark.parametrize("answer, truth", STATED)
def test_what_is_stated(answer, truth):
  assert states(answer, truth)
  assert judge(answer, truth) == CORRECT


@pytest.mark.parametrize("answer, truth", NOT_STATED)
def test_what_is_not_stated(answer, truth):
  assert not states(answer, truth)
  assert judge(answer, truth) == WRONG


@pytest.mark.parametrize("answer", REFUSALS)
def test_who_does_not_know_has_refused_whatever_they_guess(answer):
  assert is_refusal(answer)
  assert judge(answer, "1984") == judge(answer, "") == REFUSED


@pytest.mark.parametrize("answer", NO_REFUSALS)
def test_who_speaks_of_not_knowing_has_not_refused(answer):
  assert not is_refusal(answer)
  assert judge(answer, "") == WRONG


def test_phrases_of_ones_own_refuse_too():
  assert judge("Pass!", "1984") == WRONG
  assert judge("Pass!", "1984", phrases=("pass",)) == REFUSED


def test_one_of_several_truths_is_enough():
  assert judge("It is H2O.", ("hydrogen", "H2O")) == CORRECT
  assert judge("It is helium.", ("hydrogen", "H2O")) == WRONG
  assert judge("anything", ("", " ")) == WRONG


def test_long_truths_may_be_said_in_other_words():
  truth = "Polish and French physicist and chemist who studied radioactivity"
  said = "a French and Polish chemist and physicist who studied radioactivity"
  assert not states(said, truth) and judge(said, truth) == CORRECT
  assert judge(said, truth, min_f1=1.0) == CORRECT  # the same words
  assert judge("a chemist who studied bees", truth) == WRONG
  assert judge("not " + said, truth) == WRONG
  # The words of the question are no evidence.
  question = "Which Polish and French physicist and chemist studied what?"
  parrot = "The Polish and French physicist and chemist studied gravity"
  assert judge(parrot, truth) == CORRECT
  assert judge(parrot, truth, question) == WRONG
  # Half of a short truth is nothing.
  assert judge("New Jersey", "New York") == WRONG


def test_token_f1_by_hand():
  assert token_f1("a b c", "b c d") == 1 * 2 * 2 / 5  # the article is none
  assert token_f1("x y", "x y") == 1.0
  assert token_f1("", "x") == token_f1("x", "") == token_f1("", "") == 0.0
  assert token_f1("x x y", "x z") == 2 / 5
  assert token_f1("x y", "x z", ignore=frozenset("x")) == 0.0


def test_words_and_numbers():
  assert words("The U.S., in twenty-one days’ time: 3,000.50!") == [
      "u", "s", "in", "21", "days'".rstrip("'"), "time", "3000.5"]
  assert words("May 2, 1999") == ["1999-05-02"]
  assert numbers("2-1, -3 and 4.50 of v2") == [
      decimal.Decimal(n) for n in ("2", "1", "-3", "4.5")]
  assert final_number("1+2\n#### 3") == 3
  assert final_number("It is 1,234.") == 1234
  assert final_number("nothing") is None


def test_answers_that_say_the_same_have_one_key():
  question = "When was Ann Lee born?"
  same = ["1984", "In 1984.", "Ann Lee was born in 1984.", "She was born in "
          "the year 1984!"]
  assert len({answer_key(answer, question) for answer in same}) == 1
  assert answer_key("1985", question) != answer_key("1984", question)
  assert answer_key("He is a painter", "What is he?") == answer_key(
      "Painter.", "What is he?")
  assert answer_key("I don't know.") == answer_key("I have no idea.")


# --- a model as the judge -----------------------------------------------------


def test_a_verdict_is_the_first_word():
  assert verdict_in(" Correct.") == CORRECT
  assert verdict_in("**refused** because") == REFUSED
  assert verdict_in("WRONG, as") == WRONG
  for reply in ("", "not correct", "maybe"):
    with pytest.raises(ConfigError, match="none of correct"):
      verdict_in(reply)


@pytest.fixture
def server():
  """A server with a list of (status, reply) to give, and what it was asked."""
  class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
      body = self.rfile.read(int(self.headers["Content-Length"]))
      asked.append((self.path, dict(self.headers), json.loads(body)))
      status, reply = replies.pop(0)
      self.send_response(status)
      self.end_headers()
      self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *_):
      pass
  asked, replies = [], []
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1", asked, replies
    running.shutdown()


def said(text):
  return 200, {"choices": [{"message": {"content": text}}]}


def test_an_endpoint_judges(server, monkeypatch):
  url, asked, replies = server
  monkeypatch.setenv("A_KEY", "secret")
  judged_by = model_judge(JudgeConfig(endpoint=url, model="m",
                                      key_variable="A_KEY"))
  replies += [(503, {}), said("correct"), said("Refused")]
  assert judged_by("When?", "1984", "In '84") == CORRECT  # at the second try
  assert judged_by("When?", "", "Who knows") == REFUSED
  path, headers, body = asked[1]
  assert path == "/v1/chat/completions" and body["temperature"] == 0
  assert headers["Authorization"] == "Bearer secret" and body["model"] == "m"
  prompt = body["messages"][0]["content"]
  assert all(part in prompt for part in ("When?", "1984", "In '84"))


def test_a_judge_that_cannot_be_asked_is_told(server):
  url, asked, replies = server
  judged_by = model_judge(JudgeConfig(endpoint=url, model="m"))
  replies += [(401, {}), (200, {"error": "?"})]
  with pytest.raises(ConfigError, match="401.*start its server"):
    judged_by("When?", "1984", "1984")
  assert len(asked) == 1  # a key that is wrong stays so
  with pytest.raises(ConfigError, match="another form"):
    judged_by("When?", "1984", "1984")
  with pytest.raises(ConfigError, match="cannot be asked"):
    model_judge(JudgeConfig(endpoint="http://127.0.0.1:9", model="m"))(
        "When?", "1984", "1984")
