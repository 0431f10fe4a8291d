"""`sft --lora.rank=N`: it learns, goes on where it was killed, and is read."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import chat, convert, evaluate, rl, sft
from llm_jax import config_flags
from llm_jax.config import (
    CheckpointConfig, ConfigError, LoraConfig, ModelConfig, OptimizerConfig,
    RlConfig, SftConfig, TokenizerConfig)
from llm_jax.convert.pretrained import load_pretrained
from llm_jax.metrics import TIMINGS
from llm_jax.model.lora import attach, count_lora
from llm_jax.model.params import init_params
from llm_jax.model.transformer import forward
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.training.checkpoints import Checkpointer
from llm_jax.training.optimizers import make_optimizer
from llm_jax.training.saved_models import checkpoint_info, load_params
from llm_jax.training.train_step import TrainState
from tests.fake_devices import xla_flags
from tiny_runs import WORDS, words, write_jsonl

ROOT = pathlib.Path(__file__).parents[2]
MODEL = ModelConfig(vocab_size=294, embed_dim=32, num_layers=2, num_heads=2,
                    num_kv_heads=2, head_dim=16, mlp_dim=48, max_seq_len=64,
                    init_std=0.1)
LORA = LoraConfig(rank=4, alpha=8.0)
pytestmark = pytest.mark.slow

NUM_STEPS = 10


def flags(data, workdir, *more):
  """A short run of SFT with an adapter."""
  return [f"--workdir={workdir}", f"--init_from={data}/base",
          f"--data.path={data}/chats.jsonl", "--data.validation_fraction=0.2",
          "--seq_len=64", f"--num_steps={NUM_STEPS}", "--batch_size=8",
          "--eval_every=5", "--checkpoint.every=4", "--logging.every=1",
          "--nologging.tensorboard", "--optimizer.learning_rate=0.02",
          "--optimizer.warmup_steps=2", "--lora.rank=4", "--lora.alpha=8",
          *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """A base model (untrained), and conversations with one answer each."""
  directory = tmp_path_factory.mktemp("lora")
  tokenizer = train_bpe([" ".join(WORDS * 9)], TokenizerConfig(vocab_size=294))
  tokenizer.save(directory / "base" / "tokenizer")
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)
  tx = make_optimizer(OptimizerConfig(), 1)
  saver = Checkpointer(str(directory / "base"), CheckpointConfig(), MODEL,
                       "pretrain")
  saver.save(7, TrainState(jnp.int32(7), params, tx.init(params)),
             {"next_batch": 7})
  saver.close()
  rng = np.random.default_rng(0)
  write_jsonl(directory / "chats.jsonl", [
      {"prompt": words(rng, 3), "response": "river stone"}
      for _ in range(40)])
  return directory


@pytest.fixture(scope="module")
def trained(data):
  """A finished run."""
  config = config_flags.parse(SftConfig, ["sft", *flags(
      data, data / "adapter", "--mesh.data=4", "--mesh.fsdp=2")])
  return data / "adapter", sft.run(config)


def test_the_loss_falls(trained):
  _, results = trained
  assert results["val_loss_end"] < 0.7 * results["val_loss_start"]


def test_a_checkpoint_holds_the_adapter_alone(trained, data):
  run, _ = trained
  directory, step, info = checkpoint_info(str(run))
  assert (info["stage"], step) == ("sft", NUM_STEPS)
  assert info["adapter"]["base"] == str(data / "base")
  assert info["adapter"]["base_step"] == 7
  assert info["adapter"]["lora"]["rank"] == 4
  saved = json.loads((directory / "checkpoints" / str(step) / "params" /
                      "_METADATA").read_text())["tree_metadata"]
  assert len(saved) == 2 * 7  # two factors of seven kernels
  assert count_lora(MODEL, LORA) == 2 * 4 * (
      4 * (32 + 32) + 3 * (32 + 48))


def test_it_is_loaded_merged(trained, data):
  run, _ = trained
  base, _, _ = load_params(str(data / "base"))
  merged, model, _ = load_params(str(run))
  assert model == MODEL
  assert jax.tree.structure(merged) == jax.tree.structure(base)
  for name in ("q", "o"):
    a, b = (tree["layers"][0]["attention"][name] for tree in (base, merged))
    assert np.abs(a - b).max() > 1e-3
  np.testing.assert_array_equal(base["embed"]["tokens"],
                                merged["embed"]["tokens"])


def test_experiments_read_it(trained, data, command):
  run, _ = trained
  code, out, _ = command(chat, f"--checkpoint={run}", "--prompt=the green",
                         "--max_new_tokens=6", "--temperature=0")
  assert (code, out.strip()) == (0, "river stone")
  problems = write_jsonl(data / "problems.jsonl", [
      {"prompt": f"{a}+{a}?", "answer": 2 * a} for a in range(40)])
  code, out, _ = command(
      evaluate, f"--checkpoint={run}", "--suite=sums", "--batch_size=16",
      f"--problems.path={problems}", "--sampling.max_new_tokens=4")
  assert code == 0 and json.loads(out)["problems"]["problems"] == 40
  config = config_flags.parse(RlConfig, [
      "rl", f"--init_from={run}", f"--workdir={data / 'rl'}",
      f"--data.path={problems}", "--num_steps=1", "--batch_size=4",
      "--group_size=2", "--seq_len=48", "--sampling.max_new_tokens=4",
      "--nologging.tensorboard", "--optimizer.learning_rate=1e-9",
      "--optimizer.weight_decay=0"])
  rl.run(config)
  merged, after = (load_params(str(path))[0] for path in (run, data / "rl"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
               merged, after)


def test_an_adapter_on_an_adapter(trained, data):
  """The model of a run may be a merged adapter itself."""
  run, _ = trained
  config = config_flags.parse(SftConfig, ["sft", *flags(
      data, data / "second", "--num_steps=1", f"--init_from={run}",
      "--mesh.data=4", "--mesh.fsdp=2", "--optimizer.learning_rate=1e-9")])
  sft.run(config)
  first, second = (load_params(str(path))[0] for path in
                   (run, data / "second"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
               first, second)


def test_attached_and_merged_agree(trained, data):
  run, _ = trained
  directory, step, _ = checkpoint_info(str(run))
  import orbax.checkpoint as ocp
  adapter = ocp.StandardCheckpointer().restore(
      directory / "checkpoints" / str(step) / "params")
  base, _, _ = load_params(str(data / "base"))
  merged, _, _ = load_params(str(run))
  tokens = np.arange(24).reshape(2, 12)
  forward_fn = jax.jit(forward, static_argnums=2)
  adapter = jax.tree.map(np.asarray, adapter)
  np.testing.assert_allclose(
      forward_fn(attach(base, adapter, LORA), tokens, MODEL)[0],
      forward_fn(merged, tokens, MODEL)[0], atol=1e-4)


def test_runs_that_were_moved_together(trained, data, tmp_path):
  run, _ = trained
  for name in ("base", "adapter"):
    shutil.copytree(data / name, tmp_path / "runs" / name)
  moved = data / "base"
  moved.rename(data / "elsewhere")
  try:
    load_params(str(tmp_path / "runs" / "adapter"))
    with pytest.raises(ConfigError, match="holds an adapter to the model of "
                       f"{moved}, step 7, which is not there"):
      load_params(str(shutil.copytree(run, tmp_path / "alone" / "adapter")))
  finally:
    (data / "elsewhere").rename(moved)


@pytest.mark.parametrize("changes, sentence", [
    (["--lora.rank=-2"], "lora.rank is -2"),
    (["--optimizer.name=muon"], "set --optimizer.name=adamw"),
    (["--lora.targets=q_proj"], "choose one of q, k"),
    (["--lora.targets=head"], "names no kernel of this model"),
])
def test_mistakes_are_told(data, tmp_path, changes, sentence, command):
  code, _, errors = command(sft, *flags(data, tmp_path / "run", *changes))
  assert code == 2 and sentence in errors and errors.count("\n") == 1
  assert not (tmp_path / "run").exists()


def test_another_adapter_is_not_gone_on_with(trained, data, command):
  run, _ = trained
  for change, sentence in ((["--lora.rank=2"], "lora.rank=4"),
                           (["--lora.rank=0"], "lora.rank=4")):
    code, _, errors = command(sft, *flags(data, run, "--num_steps=12",
                                          *change))
    assert code == 2 and sentence in errors


def start(runs, data):
  """A process with runs of sft: [(workdir, where it is killed)]."""
  stages = [["sft", flags(data, workdir, "--mesh.data=1", "--mesh.fsdp=2"),
             kill] for workdir, kill in runs]
  environment = os.environ | {
      "XLA_FLAGS": xla_flags(2, optimized=True),
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
      "JAX_COMPILATION_CACHE_DIR": str(data / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
  process = subprocess.Popen(
      [sys.executable, ROOT / "tests/experiments/run_stages.py",
       json.dumps(stages)], env=environment, cwd=data,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
  output, _ = process.communicate(timeout=400)
  return process.returncode, output


def test_killed_and_resumed_is_bit_identical(data):
  whole, killed = data / "whole", data / "killed"
  code, output = start([(str(whole), ""), (str(killed), "step 6")], data)
  assert code == -9, output[-3000:]
  assert not (killed / "results.json").exists()
  code, output = start([(str(killed), "")], data)
  assert code == 0 and "sft: resumed, step 4" in output, output[-3000:]

  def losses(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS}
            for line in lines]
  assert losses(killed) == losses(whole)
  assert len(losses(whole)) > NUM_STEPS
  adapters = [load_params(str(run))[0] for run in (whole, killed)]
  jax.tree.map(np.testing.assert_array_equal, *adapters)


def test_out_to_peft_and_back(trained, data, tmp_path, command):
  """The adapter alone; and a PEFT folder is a model like any other."""
  run, _ = trained
  base, folder = tmp_path / "exported", tmp_path / "adapter"
  code, _, errors = command(convert, f"--source={data / 'base'}",
                            f"--output={base}")
  assert code == 0, errors
  code, out, errors = command(convert, f"--source={run}", "--format=peft",
                              f"--output={folder}", f"--base_model={base}")
  assert code == 0 and "an adapter of 3,968 parameters" in out, errors
  assert sorted(p.name for p in folder.iterdir()) == [
      "adapter_config.json", "adapter_model.safetensors"]
  merged, config, tokenizer = load_pretrained(folder)
  assert config.num_layers == 2 and tokenizer.vocab_size == 294
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
               merged, load_params(str(run))[0])
  code, _, errors = command(convert, f"--source={data / 'base'}",
                            "--format=peft", f"--output={tmp_path / 'no'}")
  assert code == 2 and "holds a whole model and no adapter" in errors
