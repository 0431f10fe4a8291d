"""Notebooks: committed without outputs, and every cell runs."""

import json
import pathlib

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


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path, monkeypatch):
  import nbformat
  from nbclient import NotebookClient
  monkeypatch.setenv("LLM_JAX_NOTEBOOK_STEPS", "tiny")
  monkeypatch.setenv("LLM_JAX_NOTEBOOK_WORKDIR", str(tmp_path / "runs"))
  monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a person has
  notebook = nbformat.read(ROOT / "colab" / "00_quickstart.ipynb", as_version=4)
  nbformat.validate(notebook)
  NotebookClient(notebook, timeout=600, kernel_name="python3", resources={
      "metadata": {"path": str(ROOT / "colab")}}).execute()

  outputs = [o for c in notebook.cells if c.cell_type == "code"
             for o in c.outputs]
  images = [o for o in outputs if "image/png" in o.get("data", {})]
  coloured = [o for o in outputs if "<span" in o.get("data", {}).get(
      "text/html", "")]
  text = "".join(o.text for o in outputs if o.output_type == "stream")
  assert len(images) == 3 and len(coloured) == 2
  assert "finetuned further" in text
  for stage in ("pretrain", "sft", "rl", "sft_continued"):
    results = json.loads((tmp_path / "runs" / stage / "results.json")
                         .read_text())
    assert results["seconds"] > 0
    assert f"--- {tmp_path / 'runs' / stage}: who are you?" in text or (
        stage == "sft_continued")
