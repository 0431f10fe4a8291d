"""A run's directory, the compilation cache, and paths."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from etils import epath
import fsspec
import jax
import pytest

from llm_jax import config, paths, run_record, workdir
from llm_jax.config import ConfigError

ROOT = pathlib.Path(__file__).parents[1]
PRETRAIN = config.PretrainConfig()


@pytest.fixture(autouse=True)
def same_cache_settings():
  """start_run turns the compilation cache on; the tests after have it off."""
  names = ("jax_compilation_cache_dir",
           "jax_persistent_cache_min_compile_time_secs")
  before = {name: getattr(jax.config, name) for name in names}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def read(path):
  return json.loads(path.read_text())


def with_model(**changes):
  return dataclasses.replace(
      PRETRAIN, model=dataclasses.replace(PRETRAIN.model, **changes))


def test_a_run_directory_says_what_was_run(tmp_path):
  directory = workdir.start_run(str(tmp_path / "run"), PRETRAIN)
  assert directory == epath.Path(tmp_path / "run")
  saved = read(tmp_path / "run" / "config.json")
  assert saved["optimizer"]["learning_rate"] == (
      PRETRAIN.optimizer.learning_rate)
  info = read(tmp_path / "run" / "run.json")
  assert info["packages"]["jax"] == jax.__version__
  assert info["devices"]["count"] == jax.device_count()
  assert info["command"] == sys.argv
  assert info["config_class"] == "PretrainConfig"
  assert set(info) >= {"git", "python", "time"}


def test_every_start_is_kept(tmp_path):
  for _ in range(3):
    workdir.start_run(tmp_path / "run", PRETRAIN)
  earlier = read(tmp_path / "run" / "run.json")["earlier_starts"]
  assert len(earlier) == 2
  assert all("earlier_starts" not in start for start in earlier)


@pytest.mark.parametrize("other, name", [
    (dataclasses.replace(PRETRAIN, seed=1), "seed=0"),
    (dataclasses.replace(PRETRAIN, batch_size=64), "batch_size=32"),
    (dataclasses.replace(PRETRAIN, seq_len=64), "seq_len=256"),
    (with_model(mlp_dim=12), "model.mlp_dim=384"),
    (dataclasses.replace(PRETRAIN, optimizer=config.OptimizerConfig(b1=0.5)),
     "optimizer.b1=0.9"),
    (dataclasses.replace(PRETRAIN, data=config.PretrainDataConfig(path="x")),
     "data.path='runs/shards'"),
    (config.SftConfig(), "PretrainConfig"),
])
def test_another_run_does_not_go_on_in_a_directory(tmp_path, other, name):
  workdir.start_run(tmp_path / "run", PRETRAIN)
  before = (tmp_path / "run" / "config.json").read_text()
  with pytest.raises(ConfigError) as error:
    workdir.start_run(tmp_path / "run", other)
  assert name in str(error.value)
  assert "choose another --workdir" in str(error.value)
  assert (tmp_path / "run" / "config.json").read_text() == before


@pytest.mark.parametrize("other", [
    dataclasses.replace(PRETRAIN, num_steps=9, eval_every=3, eval_batches=1,
                        num_microbatches=4, sample_prompts=("x",)),
    dataclasses.replace(PRETRAIN, logging=config.LoggingConfig(every=1),
                        checkpoint=config.CheckpointConfig(every=7),
                        mesh=config.MeshConfig(fsdp=2)),
    with_model(remat="full", rules=config.Rules(embed=())),
])
def test_how_far_and_how_it_is_watched_may_change(tmp_path, other):
  workdir.start_run(tmp_path / "run", PRETRAIN)
  workdir.start_run(tmp_path / "run", other)
  saved = config_of(tmp_path / "run")
  assert saved == other  # the newest resolved config


def test_what_comes_after_self_play_may_change(tmp_path):
  """Its players are trained as they were; other matches may be played."""
  before = config.SelfplayConfig()
  workdir.start_run(tmp_path / "run", before)
  workdir.start_run(tmp_path / "run", dataclasses.replace(
      before, output="elsewhere/figure", search=dataclasses.replace(
          before.search, simulations=64, pairs=50)))
  with pytest.raises(config.ConfigError, match="--match.pairs"):
    workdir.start_run(tmp_path / "run", dataclasses.replace(
        before, match=dataclasses.replace(before.match, pairs=3)))


def test_how_a_reward_is_computed_may_change(tmp_path):
  before = config.RlConfig()
  workdir.start_run(tmp_path / "run", before)
  workdir.start_run(tmp_path / "run", dataclasses.replace(
      before, kept_rollouts=3, rewards=dataclasses.replace(
          before.rewards, on_error="zero", timeout_s=99.0),
      data=dataclasses.replace(before.data, workers=5, verify_seconds=1.0)))
  with pytest.raises(config.ConfigError, match="--rewards.names"):
    workdir.start_run(tmp_path / "run", dataclasses.replace(
        before, rewards=dataclasses.replace(before.rewards, names=("x:1",))))


def config_of(directory):
  from llm_jax.config_tree import from_dict
  return from_dict(config.PretrainConfig, read(directory / "config.json"))


def test_a_setting_that_older_code_did_not_have_does_not_differ(tmp_path):
  workdir.start_run(tmp_path / "run", PRETRAIN)
  saved = read(tmp_path / "run" / "config.json")
  del saved["model"]["qk_norm"], saved["data"]
  (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
  workdir.start_run(tmp_path / "run", PRETRAIN)
  assert "qk_norm" in read(tmp_path / "run" / "config.json")["model"]


def test_a_broken_config_is_named(tmp_path):
  workdir.start_run(tmp_path / "run", PRETRAIN)
  (tmp_path / "run" / "config.json").write_text('{"seed": 0,')
  with pytest.raises(ConfigError, match=r"config\.json is not JSON"):
    workdir.start_run(tmp_path / "run", PRETRAIN)


def test_only_process_0_writes(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  workdir.start_run(tmp_path / "run", PRETRAIN)
  assert not list(tmp_path.iterdir())


def git(directory, *arguments):
  subprocess.run(("git", "-C", directory, "-c", "user.name=A", "-c",
                  "user.email=a@example.com", *arguments), check=True,
                 capture_output=True)


def test_git_revision(tmp_path):
  assert run_record.git_revision(str(tmp_path)) is None
  git(tmp_path, "init")
  (tmp_path / "a.py").write_text("1")
  git(tmp_path, "add", "a.py")
  git(tmp_path, "commit", "-m", "x")
  clean = run_record.git_revision(str(tmp_path))
  assert len(clean["revision"]) == 40 and clean["dirty"] is False
  (tmp_path / "a.py").write_text("2")
  assert run_record.git_revision(str(tmp_path)) == clean | {"dirty": True}
  # Installed below somebody's repository, but none of its files.
  (tmp_path / "site-packages").mkdir()
  (tmp_path / "site-packages" / "b.py").write_text("1")
  assert run_record.git_revision(str(tmp_path / "site-packages")) is None


# --- compilation cache -------------------------------------------------------


def test_the_cache_lies_beside_the_run(tmp_path, monkeypatch):
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.chdir(tmp_path)
  workdir.enable_compilation_cache("runs/a")
  assert jax.config.jax_compilation_cache_dir == str(
      tmp_path / "runs" / ".jax_cache")
  workdir.enable_compilation_cache("elsewhere/b")  # one that is set stays
  assert jax.config.jax_compilation_cache_dir == str(
      tmp_path / "runs" / ".jax_cache")


PROGRAM = """
import hashlib, sys
import jax, jax.numpy as jnp, numpy as np
from llm_jax.workdir import enable_compilation_cache
enable_compilation_cache(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **kw: hits.append(name)
    if name.endswith("compilation_cache/cache_hits") else None)

def loss(w, x):
  for _ in range(3):
    x = jnp.tanh(jax.nn.softmax(x @ w) @ w)
  return (x ** 2).sum()

w = jnp.asarray(np.random.default_rng(0).normal(size=(64, 64)), jnp.float32)
out = jax.jit(jax.value_and_grad(loss))(w, w)
print(len(hits), [hashlib.sha256(np.asarray(a).tobytes()).hexdigest()
                  for a in out])
"""


def test_a_second_process_compiles_nothing_and_gets_the_same_bits(tmp_path):
  environment = {k: v for k, v in os.environ.items()
                 if k not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}
  environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  first, second = (subprocess.run(
      [sys.executable, "-c", PROGRAM, str(tmp_path / "run")], check=True,
      env=environment, capture_output=True, text=True) for _ in range(2))
  assert list((tmp_path / ".jax_cache").glob("jit_loss-*"))
  (no_hits, *bits), (hits, *same_bits) = (
      p.stdout.split(" ", 1) for p in (first, second))
  assert no_hits == "0" and int(hits) >= 1
  assert bits == same_bits
  assert second.stderr == ""  # quiet about the machine it was compiled for


# --- paths -------------------------------------------------------------------


def test_local_paths_are_taken_as_they_are(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "model").mkdir()
  assert paths.resolve("~/model") == epath.Path(tmp_path / "model")
  monkeypatch.chdir(tmp_path)
  assert paths.resolve("model") == epath.Path("model")


@pytest.mark.parametrize("name", ["nothing", "/no/such/thing", "a/b/c",
                                  "notes/mine.txt", "here/sft", "./a/b"])
def test_a_missing_local_path_is_named(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "here").mkdir()  # so here/sft is a path, not a hub name
  with pytest.raises(ConfigError) as error:
    paths.resolve(name, flag="--checkpoint")
  assert str(error.value).startswith(f"--checkpoint={name} does not exist;")


def hub_answers(monkeypatch, answer):
  import huggingface_hub

  def snapshot_download(name, **options):
    if isinstance(answer, Exception):
      raise answer
    return f"{answer}/{name}"
  monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_a_hub_name_is_downloaded(monkeypatch):
  hub_answers(monkeypatch, "/cache")
  assert paths.resolve("org/model-1.5") == epath.Path("/cache/org/model-1.5")


def test_no_network_and_no_such_repository_are_told(monkeypatch):
  from huggingface_hub import errors
  hub_answers(monkeypatch, errors.LocalEntryNotFoundError(
      "Got: ConnectError\nmore lines"))
  with pytest.raises(ConfigError, match="org/model does not exist here.*could "
                     "not be reached") as error:
    paths.resolve("org/model")
  assert "\n" not in str(error.value)
  missing = errors.RepositoryNotFoundError.__new__(
      errors.RepositoryNotFoundError)  # its __init__ wants a response
  hub_answers(monkeypatch, missing)
  with pytest.raises(ConfigError, match="hub has no model of that name"):
    paths.resolve("org/model")


def test_buckets_are_reached_by_fsspec(tmp_path, monkeypatch):
  memory = fsspec.filesystem("memory")
  monkeypatch.setattr(epath.backend._FileSystemSpecBackend, "_get_filesystem",
                      lambda self, name: memory)
  monkeypatch.setattr(paths.importlib.util, "find_spec", lambda name: object())
  monkeypatch.chdir(tmp_path)
  for scheme in ("gs", "s3"):
    directory = workdir.start_run(f"{scheme}://bucket/run", PRETRAIN)
    assert config_of(directory) == PRETRAIN
    assert paths.resolve(f"{scheme}://bucket/run") == directory
  assert not list(tmp_path.iterdir())  # nothing of it went to the disk here
  memory.store.clear()


def test_schemes_that_cannot_be_reached_are_told(monkeypatch):
  with pytest.raises(ConfigError, match="ftp:// is not known"):
    paths.as_path("ftp://a/b")
  monkeypatch.setattr(paths.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ConfigError, match=r"needs the package gcsfs.*\[data\]"):
    paths.as_path("gs://a/b")
