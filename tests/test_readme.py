"""What README.md and docs/ say is so: code runs, commands and names exist."""

import ast
import importlib
import json
import math
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from llm_jax import config as config_lib
from llm_jax import config_flags
from llm_jax.rl.environments.protocol import Completion

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: pathlib.Path, language: str) -> list[str]:
  return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(),
                    flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
  """`python -m experiments.X --flags` in a text, as [X, --flags...]."""
  lines = re.sub(r"\\+\n\s*", " ", text)
  found = re.findall(r"python -m experiments\.([a-z]\w*)([^`\n)]*)", lines)
  return [[name, *shlex.split(flags, comments=True)] for name, flags in found]


def shell(*arguments: str, cwd: pathlib.Path) -> str:
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  done = subprocess.run(
      arguments, cwd=cwd, capture_output=True, text=True, check=False,
      env=environment | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"})
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


def test_the_library_needs_no_flags_and_no_files(tmp_path):
  (code,) = blocks(ROOT / "README.md", "python")
  told = shell(sys.executable, "-c", code, cwd=tmp_path)
  loss, sample = re.fullmatch(r"([\d.]+) nats per byte (b['\"].+['\"])\n",
                              told).groups()
  # An untrained model of bytes is near ln(256), and eight were asked for.
  assert abs(float(loss) - math.log(256)) < 0.5
  assert len(ast.literal_eval(sample)) == 8
  assert not list(tmp_path.iterdir())


def run_block(code: str, name: str) -> dict:
  names = {"__name__": name}
  exec(compile(code, name, "exec"), names)
  return names


def test_the_task_of_the_docs_is_an_environment():
  code = next(c for c in blocks(ROOT / "docs" / "extending.md", "python")
              if "class Differences" in c)
  environment = run_block(code, "task")["Differences"]()
  train = environment.train_problems(3, 200)
  held_out = environment.held_out_problems(200)
  assert train == environment.train_problems(3, 200)
  assert train != environment.train_problems(4, 200)
  assert not {p.prompt for p in train} & {p.prompt for p in held_out}
  assert environment.score(
      train[0], Completion(f"#### {train[0].answer}", stopped=True)) == 1
  assert environment.score(train[0], Completion("#### -1", stopped=True)) == 0
  assert environment.episode(train[0]) is None


def test_the_objective_of_the_docs_is_trained():
  code = next(c for c in blocks(ROOT / "docs" / "extending.md", "python")
              if "loss_with_z" in c)
  names = run_block(code, "objective")
  assert names["losses"][-1] < names["losses"][0] - 1
  assert float(names["metrics"]["z_loss"]) > 0


def all_commands():
  sources = [*PAGES, *sorted((ROOT / "experiments").glob("*.py")),
             *sorted((ROOT / "configs").glob("*.py"))]
  return [pytest.param(c, id=f"{source.name}-{c[0]}-{i}") for source in sources
          for i, c in enumerate(commands(source.read_text()))]


def test_commands_are_found():
  found = commands("x `python -m experiments.sft --a=1 \\\n  --b='c d'`\n"
                   "python -m experiments.chat --prompt=\"who?\"\n")
  assert found == [["sft", "--a=1", "--b=c d"], ["chat", "--prompt=who?"]]
  assert len(all_commands()) > 20


@pytest.mark.parametrize("command", all_commands())
def test_each_command_can_be_typed(command, monkeypatch):
  monkeypatch.chdir(ROOT)
  name, *flags = command
  source = (ROOT / "experiments" / f"{name}.py").read_text()
  roots = tuple(getattr(config_lib, root) for root in re.findall(
      r"\w+", re.search(r"launch\(\(?([\w, ]+)\)?, run\)", source)[1]))
  if "--help" in flags:
    return
  assert isinstance(config_flags.parse(
      roots if len(roots) > 1 else roots[0], [name, *flags]), roots)
  importlib.import_module(f"experiments.{name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_targets_that_are_named_exist(page):
  text = page.read_text()
  links = re.findall(r"\]\(([^)#:]+)\)", text)
  for link in links:
    assert (page.parent / link).exists(), link
  for name in re.findall(
      r"`((?:llm_jax|experiments|configs|tests|benchmarks|docs|colab)/[\w/.]*)`",
      text):
    assert (ROOT / name).exists(), name
  makefile = (ROOT / "Makefile").read_text()
  for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
    assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def story_rows():
  text = (ROOT / "docs" / "story.md").read_text()
  return re.findall(r"^\| .+ \| \[(.+?)\]\(.+?\) \| (.+) \|$", text,
                    re.MULTILINE)


def test_each_function_of_the_story_is_in_its_file():
  assert len(story_rows()) > 35
  for file, names in story_rows():
    tree = ast.parse((ROOT / file).read_text())
    defined = {node.name for node in tree.body
               if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for name in re.findall(r"`(\w+)`", names):
      assert name in defined, (file, name)


def test_help_names_every_setting_that_the_readme_names():
  text = (ROOT / "README.md").read_text()
  known = "\n".join(config_flags.help_text(cls()) for cls in (
      config_lib.TrainTokenizerConfig, config_lib.PretrainConfig,
      config_lib.SftConfig, config_lib.RlConfig, config_lib.EvaluateConfig,
      config_lib.ChatConfig))
  for flag in re.findall(r"`(--[\w.]+)", text):
    if flag not in ("--help", "--config"):
      assert flag in known, flag


# What makes each stage of the README's own-data example short.
SHORT = {
    "train_tokenizer": ["--tokenizer.vocab_size=280"],
    "pretrain": ["--num_steps=3", "--batch_size=4", "--seq_len=64",
                 "--model.num_layers=1", "--model.embed_dim=32"],
    "sft": ["--num_steps=3", "--batch_size=4", "--seq_len=64"],
    "rl": ["--num_steps=2", "--batch_size=2", "--group_size=2",
           "--seq_len=64", "--sampling.max_new_tokens=16"],
    "evaluate": ["--sampling.max_new_tokens=16"],
    "chat": ["--max_new_tokens=8"],
}


@pytest.mark.slow
def test_the_commands_on_your_own_data_run(tmp_path):
  words = "the sun rose over the hill and the old king said nothing".split()
  (tmp_path / "my_book.txt").write_text("\n\n".join(
      " ".join(words[(i * j) % len(words)] for j in range(80))
      for i in range(200)))
  for file, answer in (("conversations", "response"), ("problems", "answer")):
    (tmp_path / f"{file}.jsonl").write_text("".join(
        json.dumps({"prompt": f"What is {a}+{b}?",
                    answer: a + b if answer == "answer" else f"#### {a + b}"})
        + "\n" for a in range(9) for b in range(9)))
  block = next(b for b in blocks(ROOT / "README.md", "bash")
               if "my_book.txt" in b)
  assert [c[0] for c in commands(block)] == list(SHORT)
  for name, *flags in commands(block):
    told = shell(sys.executable, "-m", f"experiments.{name}", *flags,
                 *SHORT[name], cwd=tmp_path)
  assert told.strip()
  results = tmp_path / "runs" / "book" / "reasoner" / "results.json"
  assert json.loads(results.read_text())["num_steps"] == 2
