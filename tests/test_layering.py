"""Imports only go down the list of chapters, and never in a circle."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# From the ground up. Names that share a line may import each other's files.
LAYERS = (
    ("__init__",),
    ("config_parts",),
    ("config_chat", "config_crawl", "config_knowledge", "config_model",
     "config_objectives", "config_probes", "config_rollouts", "config_tasks",
     "config_text", "config_tools"),
    ("config_conversations", "config_curate", "config_demonstrate",
     "config_psychology", "config_rejection", "config_sync", "config_think",
     "config_training"),
    ("config_rl", "config_scaling", "config_scaling_laws", "config_selfplay",
     "config_sft"),
    ("config_practice", "config_r1"),
    ("config",),
    ("config_tree", "host_memory"),
    ("config_flags",),
    ("distributed", "sharding"),
    ("flops", "metric_writers", "metrics", "paths", "profiling", "run_record",
     "workdir"),
    ("tokenizer",),
    ("model",),
    ("training",),
    ("data",),
    ("inference",),
    ("scaling",),
    ("rl",),
    ("evals",),
    ("convert",),
    ("serving",),
)
LEVEL = {name: i for i, names in enumerate(LAYERS) for name in names}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base"}


def modules_of(package: pathlib.Path) -> dict[str, pathlib.Path]:
  """Dotted module name -> file, for all files of a package."""
  found = {}
  for file in sorted(package.rglob("*.py")):
    parts = file.relative_to(package.parent).with_suffix("").parts
    found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
  return found


def imports_of(name: str, file: pathlib.Path,
               modules: dict[str, pathlib.Path]) -> set[str]:
  """Modules that a file imports, wherever in it the statement stands."""
  package = name if file.name == "__init__.py" else name.rpartition(".")[0]
  found = set()
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      source = node.module or ""
      if node.level:
        parents = package.split(".")[:len(package.split(".")) + 1 - node.level]
        source = ".".join(parents + ([source] if source else []))
      for alias in node.names:
        inner = f"{source}.{alias.name}"
        found.add(inner if inner in modules else source)
  return found - {name}


def chapter(module: str) -> str:
  """llm_jax.model.layers -> model; llm_jax -> __init__."""
  return (module.split(".") + ["__init__"])[1]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
  """Import circles, each once, by depth-first search."""
  found, done = [], set()

  def visit(name: str, trail: list[str]) -> None:
    if name in trail:
      found.append(trail[trail.index(name):] + [name])
    elif name not in done:
      for target in sorted(graph.get(name, ())):
        visit(target, trail + [name])
      done.add(name)

  for name in sorted(graph):
    visit(name, [])
  return found


def faults(package: pathlib.Path) -> list[str]:
  """Sentences on each break of the rules in the tree below `package`."""
  modules, told = modules_of(package), []
  top = package.name
  graph = {name: imports_of(name, file, modules)
           for name, file in modules.items()}
  for name, targets in graph.items():
    if FORBIDDEN_NAMES & set(name.split(".")):
      told.append(f"{name} has a name that says nothing")
    if chapter(name) not in LEVEL:
      told.append(f"{name} is not in LAYERS")
      continue
    for target in sorted(targets):
      head = target.split(".")[0]
      if head in ("experiments", "benchmarks", "configs", "tests"):
        told.append(f"{name} imports {target}, which stands above the library")
      elif head == top and LEVEL.get(chapter(target), -1) > LEVEL[
          chapter(name)]:
        told.append(f"{name} imports {target}, which stands above it")
  inside = {name: {t for t in targets if t in modules and t != top}
            for name, targets in graph.items()}
  return told + ["circle: " + " -> ".join(c) for c in circles(inside)]


def test_the_library_keeps_the_order():
  assert len(modules_of(ROOT / "llm_jax")) > 20  # it did find the files
  assert not faults(ROOT / "llm_jax")


@pytest.mark.parametrize("folder", ["experiments", "benchmarks", "configs"])
def test_no_file_has_a_name_that_says_nothing(folder):
  for file in (ROOT / folder).rglob("*.py"):
    assert file.stem not in FORBIDDEN_NAMES, file


def test_config_and_its_flags_need_no_jax():
  names = [name for name in LEVEL if name.startswith("config")]
  assert len(names) > 8
  for name in names:
    file = ROOT / "llm_jax" / f"{name}.py"
    heads = {target.split(".")[0] for target in
             imports_of(f"llm_jax.{name}", file, {})}
    assert not heads & {"jax", "flax", "optax", "numpy", "grain", "etils"}


def write_tree(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
  for name, text in files.items():
    file = root / "llm_jax" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
  return root / "llm_jax"


def test_a_good_tree_has_no_faults(tmp_path):
  assert not faults(write_tree(tmp_path, {
      "__init__.py": "",
      "config.py": "import dataclasses\n",
      "workdir.py": "import llm_jax\nfrom llm_jax import config\n",
      "model/__init__.py": "",
      "model/layers.py": "from llm_jax.config import ModelConfig\n",
      "model/transformer.py": "from llm_jax.model import layers\n",
      "rl/__init__.py": "",
      "rl/rollouts.py": "from ..model.transformer import forward\n"}))


@pytest.mark.parametrize("file, text, fault", [
    ("model/layers.py", "from llm_jax.training import losses\n",
     "llm_jax.model.layers imports llm_jax.training.losses, which stands"),
    ("model/layers.py", "from llm_jax.training.losses import f\n",
     "llm_jax.model.layers imports llm_jax.training.losses, which stands"),
    ("model/layers.py", "from ..training import losses\n",
     "llm_jax.model.layers imports llm_jax.training.losses, which stands"),
    ("model/layers.py", "def f():\n  import llm_jax.training.losses\n",
     "llm_jax.model.layers imports llm_jax.training.losses, which stands"),
    ("config.py", "from llm_jax import sharding\n",
     "llm_jax.config imports llm_jax.sharding, which stands above it"),
    ("model/layers.py", "import experiments.pretrain\n",
     "which stands above the library"),
    ("model/layers.py", "from llm_jax.model import attention\n",
     "circle: llm_jax.model.attention -> llm_jax.model.layers -> "
     "llm_jax.model.attention"),
    ("model/utils.py", "", "llm_jax.model.utils has a name"),
    ("helpers/text.py", "", "llm_jax.helpers.text has a name"),
    ("misc/text.py", "", "llm_jax.misc.text is not in LAYERS"),
])
def test_a_bad_tree_has_the_fault_told(tmp_path, file, text, fault):
  tree = {"__init__.py": "", "config.py": "", "sharding.py": "",
          "model/__init__.py": "", "model/layers.py": "",
          "model/attention.py": "from llm_jax.model import layers\n",
          "training/__init__.py": "", "training/losses.py": ""}
  assert not faults(write_tree(tmp_path, tree))
  told = faults(write_tree(tmp_path, {file: text}))
  assert any(fault in sentence for sentence in told), told
