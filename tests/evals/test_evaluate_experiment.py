"""experiments/evaluate.py on a model that knows nothing: exact answers."""

import json
import math

import jax
import pytest

from experiments import evaluate
from llm_jax.config import (
  CheckpointConfig,
  ConfigError,
  EvaluateConfig,
  ModelConfig,
  RlDataConfig,
  SamplingConfig,
  TextConfig,
  TokenizerConfig,
)
from llm_jax.data.documents import Document
from llm_jax.data.shard_writer import write_shards
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.checkpoints import Checkpointer
from llm_jax.training.saved_models import TOKENIZER
from llm_jax.training.train_step import TrainState

TEXTS = [f"What is {i} of them?" for i in range(40)]


@pytest.fixture(scope="module")
def tokenizer():
  return train_bpe(TEXTS, TokenizerConfig(vocab_size=270))


def make_run(workdir, tokenizer, max_seq_len):
  """All parameters zero: every token has probability 1 / vocab_size."""
  model = ModelConfig(
      vocab_size=tokenizer.vocab_size, embed_dim=8, num_layers=1, num_heads=1,
      num_kv_heads=1, head_dim=8, mlp_dim=8, max_seq_len=max_seq_len)
  params = jax.tree.map(jax.numpy.zeros_like,
                        init_params(jax.random.key(0), model))
  checkpointer = Checkpointer(workdir, CheckpointConfig(), model, "sft")
  checkpointer.save(1, TrainState(jax.numpy.int32(1), params, ()), {})
  checkpointer.close()
  tokenizer.save(f"{workdir}/{TOKENIZER}")
  return workdir


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tokenizer):
  return make_run(str(tmp_path_factory.mktemp("run")), tokenizer, 64)


def settings(run_dir, **changes):
  return EvaluateConfig(
      checkpoint=run_dir, batch_size=8, seq_len=256,
      sampling=SamplingConfig(max_new_tokens=6), **changes)


def test_bits_per_byte_of_raw_text(run_dir, tokenizer, tmp_path):
  path = tmp_path / "texts.jsonl"
  path.write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
  tokens = sum(len(tokenizer.encode(text)) + 1 for text in TEXTS)
  num_bytes = sum(len(text.encode()) for text in TEXTS)
  output = tmp_path / "new" / "result.json"
  result = evaluate.run(settings(
      run_dir, suite="bits_per_byte", output=str(output),
      data=TextConfig(path=str(path), validation_fraction=0.0)))
  found = result["bits_per_byte"]
  assert found["tokens"] == tokens and found["bytes"] == num_bytes
  bits = (tokens - 1) * math.log2(tokenizer.vocab_size) / num_bytes
  assert found["value"] == pytest.approx(bits, rel=1e-5)
  assert found["seq_len"] == 64  # the model's own, less than what was asked
  assert "sums" not in result
  assert json.loads(output.read_text()) == result
  held_out = evaluate.run(settings(
      run_dir, suite="bits_per_byte",
      data=TextConfig(path=str(path), validation_fraction=0.3)))
  assert 0 < held_out["bits_per_byte"]["tokens"] < tokens / 2
  given = evaluate.run(settings(
      run_dir, suite="bits_per_byte", data=TextConfig(
          path=str(tmp_path / "none"), validation_path=str(path))))
  assert given["bits_per_byte"] == found


def test_bits_per_byte_of_shards(run_dir, tokenizer, tmp_path):
  shards = str(tmp_path / "shards")
  write_shards([("train", Document("abc", "")), ("validation", Document(
      TEXTS[0] * 20, ""))], tokenizer, shards)
  result = evaluate.run(settings(
      run_dir, suite="bits_per_byte", data=TextConfig(path=shards)))
  ids = tokenizer.encode(TEXTS[0] * 20)
  bits = (len(ids) * math.log2(tokenizer.vocab_size)
          / len(TEXTS[0] * 20))
  assert result["bits_per_byte"]["value"] == pytest.approx(bits, rel=1e-5)
  other = train_bpe(["xyz"] * 3, TokenizerConfig(vocab_size=265))
  write_shards([("train", Document("abc", ""))], other, shards)
  with pytest.raises(ConfigError, match="another tokenizer"):
    evaluate.run(settings(
        run_dir, suite="bits_per_byte", data=TextConfig(path=shards)))


@pytest.mark.slow
def test_sums_and_the_users_own_problems(run_dir, tmp_path):
  problems = RlDataConfig(eval_problems=12, min_terms=2, max_terms=3)
  result = evaluate.run(settings(run_dir, suite="sums", problems=problems))
  assert result["stage"] == "sft" and result["step"] == 1
  sums = result["sums"]
  assert sums["problems"] == 12 and 0 <= sums["accuracy_low"] <= 1
  path = tmp_path / "problems.jsonl"
  path.write_text("".join(
      json.dumps({"prompt": f"{i}?", "answer": i}) + "\n" for i in range(5)))
  result = evaluate.run(settings(
      run_dir, suite="sums", problems=RlDataConfig(path=str(path))))
  assert result["problems"]["problems"] == 5


@pytest.mark.slow
def test_problems_of_several_turns_with_several_answers(tokenizer, tmp_path):
  run = make_run(str(tmp_path / "run"), tokenizer, 1024)
  result = evaluate.run(settings(
      run, suite="problems", samples=3, problems=RlDataConfig(
          path="game:guess_number", eval_problems=4)))["problems"]
  assert result["problems"] == 4 and "bits_per_byte" not in result
  for k in (2, 3):
    assert (result[f"pass_at_{k}_low"] <= result[f"pass_at_{k}"]
            <= result[f"pass_at_{k}_high"])
  assert result["accuracy"] <= result["pass_at_2"] <= result["pass_at_3"]


def test_mistakes_are_told(run_dir):
  with pytest.raises(ConfigError, match="samples is 0"):
    evaluate.run(settings(run_dir, samples=0))
  with pytest.raises(ConfigError, match="choose one of"):
    evaluate.run(settings(run_dir, suite="everything"))
  with pytest.raises(ConfigError, match="--checkpoint"):
    evaluate.run(settings(""))
  with pytest.raises(ConfigError, match="nowhere.txt"):
    evaluate.run(settings(run_dir, data=TextConfig(path="nowhere.txt")))
