"""Notebooks: committed without outputs, and every cell runs."""

import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))


def test_there_are_notebooks():
  assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path):
  notebook = json.loads(path.read_text())
  code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
  assert len(code) > 3
  for cell in code:
    assert cell["outputs"] == [] and cell["execution_count"] is None


def executed(name, directory, monkeypatch):
  """(the notebook, its cells run at a tiny size; what they printed)."""
  import nbformat
  from nbclient import NotebookClient
  monkeypatch.setenv("LLM_JAX_NOTEBOOK_STEPS", "tiny")
  monkeypatch.setenv("LLM_JAX_NOTEBOOK_WORKDIR", str(directory))
  monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a person has
  notebook = nbformat.read(ROOT / "colab" / name, as_version=4)
  nbformat.validate(notebook)
  NotebookClient(notebook, timeout=600, kernel_name="python3", resources={
      "metadata": {"path": str(ROOT / "colab")}}).execute()
  outputs = [o for c in notebook.cells if c.cell_type == "code"
             for o in c.outputs]
  return outputs, "".join(o.text for o in outputs if o.output_type == "stream")


def images(outputs):
  return [o for o in outputs if "image/png" in o.get("data", {})]


def coloured(outputs):
  return [o for o in outputs if "<span" in o.get("data", {}).get(
      "text/html", "")]


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path, monkeypatch):
  runs = tmp_path / "runs"
  outputs, text = executed("00_quickstart.ipynb", runs, monkeypatch)
  assert len(images(outputs)) == 3 and len(coloured(outputs)) == 2
  assert "finetuned further" in text
  for stage in ("pretrain", "sft", "rl", "sft_continued"):
    results = json.loads((runs / stage / "results.json").read_text())
    assert results["seconds"] > 0
    assert f"--- {runs / stage}: who are you?" in text or (
        stage == "sft_continued")


@pytest.mark.slow
def test_the_reasoner_runs(tmp_path, monkeypatch):
  runs = tmp_path / "runs"
  outputs, text = executed("01_reasoner.ipynb", runs, monkeypatch)
  assert len(images(outputs)) == 3 and len(coloured(outputs)) == 1
  # The verifier wants the mark, and the end.
  assert [line[:3] for line in text.splitlines()
          if line.startswith(("0.0 ", "1.0 "))] == ["1.0", "0.0", "0.0"]
  assert re.search(r"tokens, ratio (0\.9999|1\.0000)\d\d to "
                   r"(0\.9999|1\.0000)\d\d", text)
  for name in ("grpo", "dr_grpo", "cispo", "by_lot"):
    results = json.loads((runs / f"rl_{name}" / "results.json").read_text())
    assert len(results["reward_curve"]) == 2
    assert f"{name.replace('_lot', ' lot')}: " in text
