"""A step compiled by the TPU's own compiler, which needs no TPU."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.reference

SMALL = ("--model.vocab_size=1024", "--model.embed_dim=256",
         "--model.num_layers=2", "--model.num_heads=2",
         "--model.num_kv_heads=1", "--model.head_dim=128",
         "--model.mlp_dim=512", "--model.compute_dtype=bfloat16",
         "--seq_len=512", "--model.max_seq_len=512", "--batch_size=8",
         "--steps=train")


def compiled(directory, *flags):
  """(report of the train step, its program's text)."""
  pytest.importorskip("libtpu")
  done = subprocess.run(
      [sys.executable, "-m", "experiments.compile_for_tpu",
       "--topology=v5e:2x2", "--mesh.data=1", f"--output={directory}",
       "--save_hlo", *SMALL, *flags],
      # Another process may be compiling, too.
      env=os.environ | {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"},
      capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  report = json.loads((directory / "report.json").read_text())["steps"][0]
  return report, (directory / "train.hlo.txt").read_text()


def test_a_dense_step_with_splash_attention(tmp_path):
  report, text = compiled(tmp_path, "--mesh=fsdp=4")
  assert "splash" in text and "tpu_custom_call" in text
  assert 15 * 2**30 < report["memory"]["device"] <= 16 * 2**30
  estimate = report["estimate"]
  state = estimate["params"] + estimate["optimizer"] + estimate["batch"]
  assert report["memory"]["argument"] == pytest.approx(state, rel=0.02)
  assert report["collectives"]["all-gather"]["runs"] >= 4
  assert report["roofline"]["bound"] in ("compute", "hbm", "ici")
  assert 0 < report["roofline"]["mfu"] <= 1


def test_experts_by_ragged_all_to_all(tmp_path):
  report, _ = compiled(tmp_path, "--mesh=expert=4", "--model.moe.num_experts=8",
                       "--model.moe.mlp_dim=256")
  assert report["collectives"]["ragged-all-to-all"]["runs"] >= 2 * 4
