"""SFT from other programs' models, on several sources, in another template."""

import json

import jax
import numpy as np
import pytest

from experiments import chat, sft
from llm_jax import config_flags
from llm_jax.config import ModelConfig, SftConfig, TokenizerConfig
from llm_jax.convert.pretrained import load_pretrained, save_pretrained
from llm_jax.data.documents import Document
from llm_jax.data.shard_writer import write_shards
from llm_jax.metric_writers import read_jsonl
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.chat import has_own_template
from llm_jax.training.saved_models import load_params
from tiny_runs import WORDS, words, write_jsonl

pytestmark = pytest.mark.slow

SPECIAL = (*TokenizerConfig().special_tokens, "<|im_start|>", "<|im_end|>")
MODEL = ModelConfig(vocab_size=300, embed_dim=32, num_layers=2, num_heads=2,
                    num_kv_heads=2, head_dim=16, mlp_dim=48, max_seq_len=64,
                    init_std=0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """A model as a Hugging Face folder, two sets of conversations, and text."""
  root = tmp_path_factory.mktemp("sources")
  tokenizer = train_bpe([" ".join(WORDS * 9)], TokenizerConfig(
      vocab_size=300, special_tokens=SPECIAL))
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)
  save_pretrained(root / "model", params, MODEL, tokenizer)
  rng = np.random.default_rng(0)
  for name, answer in (("a", "river stone"), ("b", "green tree")):
    write_jsonl(root / f"{name}.jsonl", [
        {"prompt": words(rng, 3), "response": answer} for _ in range(40)])
  write_shards([("validation" if i < 2 else "train",
                 Document(words(rng, 90), "")) for i in range(9)], tokenizer,
               str(root / "text"), progress=lambda line: None)
  return root


def run(data, name, *flags):
  config = config_flags.parse(SftConfig, ["sft", *(
      f"--workdir={data}/{name}", f"--init_from={data}/model", "--seq_len=64",
      "--batch_size=8", "--data.validation_fraction=0.2", "--eval_every=5",
      "--logging.every=1", "--nologging.tensorboard",
      "--optimizer.warmup_steps=2"), *flags])
  return sft.run(config)


def test_an_adapter_to_a_hugging_face_model_in_chatml(data, capsys, command):
  results = run(data, "adapter", f"--data.path={data}/a.jsonl",
                "--data.template=chatml", "--lora.rank=4", "--lora.alpha=8",
                "--num_steps=10", "--optimizer.learning_rate=0.02")
  assert results["val_loss_end"] < 0.7 * results["val_loss_start"]
  told = capsys.readouterr().out
  assert f"sft: converted {data}/model into " in told
  assert "100.0% of the rows, " in told and "packed " in told
  params, _, tokenizer = load_params(str(data / "adapter"))
  assert has_own_template(tokenizer)
  theirs, _, other = load_pretrained(data / "model")
  assert not has_own_template(other)
  base = params["layers"][0]["mlp"]["up"]
  assert np.abs(np.asarray(theirs["layers"][0]["mlp"]["up"])
                - np.asarray(base)).max() > 1e-4
  code, out, _ = command(chat, f"--checkpoint={data}/adapter",
                         "--prompt=the green", "--max_new_tokens=6",
                         "--temperature=0")
  assert (code, out.strip()) == (0, "river stone")
  # The copy is made once, and moves with the run.
  (data / "adapter" / "results.json").unlink()
  run(data, "adapter", f"--data.path={data}/a.jsonl",
      "--data.template=chatml", "--lora.rank=4", "--lora.alpha=8",
      "--num_steps=10", "--optimizer.learning_rate=0.02")
  assert "converted" not in capsys.readouterr().out
  (data / "adapter").rename(data / "moved")
  again, _, _ = load_params(str(data / "moved"))
  np.testing.assert_array_equal(
      base, again["layers"][0]["mlp"]["up"])


def test_conversations_and_text_side_by_side(data, capsys):
  results = run(
      data, "mixed", f"--data.mixture={data}/a.jsonl:1,{data}/b.jsonl:1,"
      f"{data}/text:2", "--num_steps=10", "--optimizer.learning_rate=0.01")
  losses = [record for record in read_jsonl(data / "mixed" / "metrics.jsonl")
            if "val_loss" in record]
  assert {f"val_loss/{name}" for name in ("a.jsonl", "b.jsonl", "text")} <= (
      losses[0].keys())
  for name in ("a.jsonl", "b.jsonl", "text"):
    assert losses[-1][f"val_loss/{name}"] < losses[0][f"val_loss/{name}"]
  assert results["steps"] == 10
  told = capsys.readouterr().out
  assert "sft: text: 50.0% of the rows, " in told
  assert "sft: a.jsonl: 25.0% of the rows, " in told


def test_a_run_is_what_it_was(data):
  """Killed or not, mixtures give the same batches: two runs are one."""
  flags = (f"--data.mixture={data}/a.jsonl:1x,{data}/b.jsonl:2x",
           "--num_steps=4", "--checkpoint.every=2")
  first, again = (run(data, name, *flags) for name in ("one", "two"))
  for key in ("val_loss_end", "val_loss_start"):
    assert first[key] == again[key]
  assert json.loads((data / "one" / "results.json").read_text())["steps"] == 4
