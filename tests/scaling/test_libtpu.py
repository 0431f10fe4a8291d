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
  """(reports of the steps, text of the train step's program)."""
  pytest.importorskip("libtpu")
  done = subprocess.run(
      [sys.executable, "-m", "experiments.compile_for_tpu",
       "--topology=v5e:2x2", "--mesh.data=1", f"--output={directory}",
       "--save_hlo", *flags],
      # Another process may be compiling, too.
      env=os.environ | {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"},
      capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  reports = json.loads((directory / "report.json").read_text())["steps"]
  return reports, (directory / "train.hlo.txt").read_text()


def test_a_dense_step_with_splash_attention(tmp_path):
  (report,), text = compiled(tmp_path, *SMALL, "--mesh=fsdp=4")
  assert "splash" in text and "tpu_custom_call" in text
  assert 15 * 2**30 < report["memory"]["device"] <= 16 * 2**30
  estimate = report["estimate"]
  state = estimate["params"] + estimate["optimizer"] + estimate["batch"]
  assert report["memory"]["argument"] == pytest.approx(state, rel=0.02)
  assert report["collectives"]["all-gather"]["runs"] >= 4
  assert report["roofline"]["bound"] in ("compute", "hbm", "ici")
  assert 0 < report["roofline"]["mfu"] <= 1


def test_experts_by_ragged_all_to_all(tmp_path):
  (report,), _ = compiled(
      tmp_path, *SMALL, "--mesh=expert=4", "--model.moe.num_experts=8",
      "--model.moe.mlp_dim=256")
  assert report["collectives"]["ragged-all-to-all"]["runs"] >= 2 * 4


def test_training_and_sampling_of_reinforcement_learning(tmp_path):
  folder = tmp_path / "model"
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps({
      "architectures": ["Qwen3ForCausalLM"], "hidden_size": 256,
      "intermediate_size": 512, "num_hidden_layers": 2, "head_dim": 128,
      "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 1024,
      "rms_norm_eps": 1e-6, "max_position_embeddings": 512,
      "rope_theta": 1e6, "tie_word_embeddings": True}))
  reports, text = compiled(
      tmp_path, "--config=configs/rl_gsm8k_qwen3_1p7b.py",
      f"--init_from={folder}", "--batch_size=4", "--group_size=4",
      "--seq_len=512", "--sampling.max_new_tokens=256")
  assert [report["step"] for report in reports] == [
      "train", "sync", "start", "resume", "compact"]
  assert "splash" in text
  train, _, *sampling = reports
  assert train["collectives"]["all-gather"]["runs"] >= 4
  for report in sampling:  # no device waits for another
    assert not report["collectives"]
    assert report["memory"]["beside"] > 0
