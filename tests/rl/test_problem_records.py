"""Files of problems: every kind of record, its verifier, and its faults."""

import json

import pytest

from llm_jax.config import ConfigError, CurriculumConfig, RlDataConfig
from llm_jax.rl.environments.loading import load_environment
from llm_jax.rl.environments.protocol import Completion

HUMAN_EVAL = {
    "task_id": "Test/0", "entry_point": "double",
    "prompt": "import math\n\ndef double(x):\n  \"\"\"Twice x.\"\"\"\n",
    "test": "def check(candidate):\n  assert candidate(2) == 4\n"
            "  assert candidate(-1) == -2\n"}
MBPP = {"text": "", "prompt": "Write add(a, b).",
        "tests": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]}


@pytest.fixture
def load(tmp_path):
  def make(*records, **settings):
    path = tmp_path / "p.jsonl"
    # Two at least; the second differs in its prompt only.
    names = [n for n in ("prompt", "question") if n in records[0]]
    records = [*records, records[0] | {
        name: records[0][name] + " " for name in names}]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return load_environment(RlDataConfig(
        path=str(path), workers=1, **{"verify_seconds": 60.0} | settings), 0)
  return make


def first(environment):
  return min(environment.all_problems(), key=lambda p: p.source)


def score(environment, text, stopped=True):
  return environment.score(first(environment), Completion(text, stopped))


def test_gsm8k(load):
  environment = load({"question": "How many?",
                      "answer": "1000+234=<<1000+234=1234>>1234\n#### 1,234",
                      "level": 3}, system="Think.")
  problem = first(environment)
  assert environment.verifier == "numeric"
  assert (problem.prompt, problem.answer) == ("How many?", "1234")
  assert problem.system == "Think." and problem.columns["level"] == 3
  assert problem.columns["solution"].startswith("1000+234")
  for text in ("so\n#### 1234", "#### 1,234", r"\boxed{1234}", "It is $1234.",
               "<think>1</think><answer>1234.0</answer>"):
    assert score(environment, text) == 1, text
    assert score(environment, text, stopped=False) == 0
  for text in ("#### 123", "1234 or 1235", "#### 1234\n#### 5", ""):
    assert score(environment, text) == 0, text


@pytest.mark.parametrize("verifier, answer, right, wrong", [
    ("exact", "Paris", "It is the capital.\n#### paris", "#### Rome"),
    ("numeric", 0.5, "<answer>1/2</answer>", "<answer>0.6</answer>"),
    ("numeric", "1,000", "#### 1000", "#### 100"),
    ("integer", 7, "3+4\n#### 7", "The answer is 7")])
def test_a_verifier_by_name(load, verifier, answer, right, wrong):
  environment = load({"prompt": "?", "answer": answer}, verifier=verifier)
  assert score(environment, right) == 1 and score(environment, wrong) == 0
  assert score(environment, right, stopped=False) == 0


def test_a_tolerance(load):
  environment = load({"prompt": "?", "answer": 3.14159}, verifier="numeric",
                     tolerance=0.01)
  assert score(environment, "#### 3.14") == 1
  assert score(environment, "#### 3.1") == 0


@pytest.mark.parametrize("fields", [
    {"choices": ["Paris", "London", "Rome"], "answer": "B"},
    {"choices": ["Paris", "London", "Rome"], "answer": 1},
    {"choices": ["Paris", "London", "Rome"], "answer": "London"},
    {"choices": {"text": ["Paris", "London", "Rome"],
                 "label": ["1", "2", "3"]}, "answerKey": "2"}])
def test_multiple_choice(load, fields):
  environment = load({"question": "Where is Big Ben?", **fields})
  problem = first(environment)
  assert problem.prompt == ("Where is Big Ben?\nA. Paris\nB. London\nC. Rome")
  assert problem.answer == "B" and environment.verifier == "choice"
  assert score(environment, "It is a clock.\n(B)") == 1
  assert score(environment, "<answer>London</answer>") == 1
  assert score(environment, "C") == 0 and score(environment, "") == 0


def test_code_as_humaneval_has_it(load):
  environment = load(HUMAN_EVAL)
  assert environment.verifier == "code"
  assert first(environment).columns["task_id"] == "Test/0"
  whole = "def double(x):\n  return int(math.fsum([x, x]))"
  for text, right in (
      ("  return 2 * x\n", 1), ("  return x * x\n", 0),
      (f"Like this:\n```python\n{whole}\n```\n", 1), (whole, 1),
      ("<think>```python\nx\n```</think>\n```\n" + whole + "\n```", 1),
      ("  raise SystemExit(0)\n", 0), ("  print('x' * 100)\n  return 2*x", 1),
      ("  return 2 * x\nimport os\nos._exit(0)", 0),
      ("  while True: pass\n", 0), ("I do not know.", 0), ("", 0)):
    assert score(environment, text) == right, text
  assert score(environment, "  return 2 * x\n", stopped=False) == 0


def test_code_with_a_list_of_tests(load):
  environment = load(MBPP)
  good = "```python\ndef add(a, b):\n  return a + b\n```"
  assert score(environment, good) == 1
  assert score(environment, good.replace("+", "*")) == 0
  # What the tests raise cannot be swallowed, nor their end be pretended.
  assert score(environment, "```python\ndef add(a, b):\n  return 3\ntry:\n"
               "  pass\nexcept: pass\nprint('passed')\n```") == 0


@pytest.mark.slow
def test_mathematics(load):
  environment = load({"prompt": "Expand.", "answer": r"x^2 + 2x + 1"},
                     verifier="math")
  for text, right in ((r"\boxed{(x+1)^2}", 1), (r"\boxed{1 + 2x + x^2}", 1),
                      (r"\boxed{x^2+1}", 0), ("<answer>$x^2+2x+1$</answer>", 1),
                      ("no", 0), ("", 0)):
    assert score(environment, text) == right, text
  environment = load({"prompt": "A half?", "answer": r"\frac{1}{2}"},
                     verifier="math")
  for text in ("#### 0.5", r"\boxed{\frac12}", "#### 1/2", r"#### 50\%"):
    assert score(environment, text) == 1, text


@pytest.mark.parametrize("record, told", [
    ({"prompt": "?", "choices": ["a"], "answer": "A"}, "2 to 26"),
    ({"prompt": "?", "choices": ["a", "b"], "answer": "c"}, "letter of one"),
    ({"prompt": "?", "choices": ["a", "b"], "answer": 2}, "letter of one"),
    ({"prompt": "?", "choices": ["a", "b"]}, "lacks the field 'answer'"),
    ({"prompt": "?", "tests": []}, "list of statements"),
    ({"prompt": "?", "test": "def check(f): pass"}, "entry_point"),
    ({"question": "?", "answer": "many"}, "--data.verifier: numeric"),
    ({"question": "?"}, "lacks the field 'answer'"),
    ({"text": "?", "answer": 1}, "lacks the field 'prompt'")])
def test_a_bad_record_is_named(load, record, told):
  with pytest.raises(ConfigError, match=f"p.jsonl:1.*{told}"):
    load(record)
  with pytest.raises(ConfigError, match="p.jsonl:1.*number"):
    load({"prompt": "?", "answer": "many"}, verifier="numeric")
  with pytest.raises(ConfigError, match="p.jsonl:1.*text"):
    load({"prompt": "?", "answer": ["many"]}, verifier="exact")


def write(path, numbers, **more):
  path.write_text("".join(json.dumps(
      {"prompt": f"{i}?", "answer": i} | {k: v(i) for k, v in more.items()})
      + "\n" for i in numbers))
  return str(path)


def test_held_out_problems_of_their_own_file(tmp_path):
  config = RlDataConfig(path=write(tmp_path / "train.jsonl", range(20)),
                        eval_path=write(tmp_path / "test.jsonl", range(15, 30)),
                        eval_problems=10)
  environment = load_environment(config, 0)
  trained = {int(p.answer) for p in environment.train_problems(0, 15)}
  assert trained == set(range(15))  # those in both files are held out
  held_out = environment.held_out_problems(100)
  assert len(held_out) == 10
  assert {int(p.answer) for p in held_out} <= set(range(15, 30))


def test_levels_by_a_column(tmp_path):
  path = write(tmp_path / "p.jsonl", range(80), hard=lambda i: i * i)
  environment = load_environment(RlDataConfig(
      path=path, eval_problems=4, curriculum=CurriculumConfig(
          kind="staged", column="hard", num_levels=4)), 0)
  assert environment.num_levels == 4
  found = [{int(p.answer) for step in range(10)
            for p in environment.train_problems_at(step, [level] * 8)}
           for level in range(4)]
  assert all(max(a) < min(b) for a, b in zip(found, found[1:]))
  assert sum(map(len, found)) == 76  # every one of them in an epoch
  with pytest.raises(ConfigError, match=r"p.jsonl:\d+: curriculum.column=soft"):
    load_environment(RlDataConfig(path=path, curriculum=CurriculumConfig(
        column="soft")), 0)
