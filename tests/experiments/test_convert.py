"""experiments/convert.py as it is typed, and what reads its output."""

import json

import jax
import numpy as np
import pytest

from experiments import convert, evaluate, sft
from llm_jax.config import ModelConfig, TokenizerConfig
from llm_jax.convert import load_pretrained, save_pretrained
from llm_jax.model.params import count_params, init_params
from llm_jax.tokenizer.bpe import train_bpe

MODEL = ModelConfig(vocab_size=266, embed_dim=32, num_layers=2, num_heads=2,
                    num_kv_heads=1, head_dim=16, mlp_dim=48, max_seq_len=64)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run's directory with a model that knows nothing."""
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)
  tokenizer = train_bpe(["a text"] * 4, TokenizerConfig(vocab_size=266))
  return save_pretrained(tmp_path_factory.mktemp("convert") / "run", params,
                         MODEL, tokenizer, format="orbax", stage="sft")


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, load_pretrained(a)[0],
               load_pretrained(b)[0])


def test_to_hugging_face_and_back(run, command, tmp_path):
  code, told, errors = command(convert, f"--source={run}",
                               f"--output={tmp_path / 'hf'}")
  assert (code, errors) == (0, "")
  assert "written as LlamaForCausalLM" in told
  assert f"{count_params(MODEL):,} parameters in" in told
  assert_same(run, tmp_path / "hf")
  code, _, _ = command(convert, f"--source={tmp_path / 'hf'}",
                       f"--output={tmp_path / 'base'}", "--format=orbax")
  assert code == 0
  assert_same(run, tmp_path / "base")


@pytest.mark.slow
def test_what_came_back_is_trained(run, command, files, tmp_path):
  for source, output, form in ((run, "hf", "hf"),
                               (tmp_path / "hf", "base", "orbax")):
    code, _, errors = command(convert, f"--source={source}",
                              f"--output={tmp_path / output}",
                              f"--format={form}")
    assert code == 0, errors
  code, _, errors = command(
      sft, f"--init_from={tmp_path / 'base'}", f"--workdir={tmp_path / 'sft'}",
      f"--data.path={files / 'chats.jsonl'}", "--num_steps=1",
      "--batch_size=8", "--seq_len=64", "--data.overlong=trim")
  assert code == 0, errors
  assert load_pretrained(tmp_path / "sft")[1].embed_dim == 32


def test_evaluation_reads_any_of_them(run, command, files, tmp_path):
  command(convert, f"--source={run}", f"--output={tmp_path / 'hf'}")
  results = []
  for source in (run, tmp_path / "hf"):
    code, told, _ = command(
        evaluate, f"--checkpoint={source}", "--suite=bits_per_byte",
        f"--data.path={files / 'texts.jsonl'}", "--seq_len=32",
        "--data.validation_fraction=0.1", "--batch_size=8")
    assert code == 0
    results.append(json.loads(told))
  assert results[0]["stage"] == "sft" and "stage" not in results[1]
  assert results[0]["bits_per_byte"] == results[1]["bits_per_byte"]


@pytest.mark.parametrize("flags, told", [
    (["--source="], "source is empty"),
    (["--output="], "output is empty; give --output=DIRECTORY"),
    (["--format=onnx"], "format is 'onnx'; choose one of hf, gguf, orbax"),
    (["--dtype=q8_0"], "dtype (of format=hf) is 'q8_0'; choose one of"),
    (["--model_type=gpt2"], "no model_type=gpt2 of Hugging Face's has all"),
    (["--source=/nowhere"], "--source=/nowhere does not exist"),
    (["--max_shard_gb=0"], "max_shard_gb is 0.0; it must be positive"),
])
def test_mistakes_are_one_sentence(flags, told, run, command, tmp_path):
  code, output, errors = command(
      convert, f"--source={run}", f"--output={tmp_path / 'out'}", *flags)
  assert code == 2 and told in errors and errors.count("\n") == 1
  assert not list(tmp_path.iterdir()) and not output


def test_an_output_that_is_there_is_left_alone(run, command, tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  code, _, errors = command(convert, f"--source={run}", f"--output={tmp_path}")
  assert code == 2 and "is not empty; give another" in errors
  assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
