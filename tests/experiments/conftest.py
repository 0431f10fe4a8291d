"""A tiny trained chain of runs, and a command line within the process."""

import sys

import jax
from jax.experimental.compilation_cache import compilation_cache
import numpy as np
import pytest

from llm_jax import config_flags
from tiny_runs import words, write_jsonl

@pytest.fixture(scope="module", autouse=True)
def own_compilation_cache(tmp_path_factory):
  """Runs turn the compilation cache on; tests elsewhere have it as it was."""
  names = ("jax_compilation_cache_dir",
           "jax_persistent_cache_min_compile_time_secs")
  before = {name: getattr(jax.config, name) for name in names}
  jax.config.update("jax_compilation_cache_dir",
                    str(tmp_path_factory.getbasetemp() / "compiled"))
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture
def command(monkeypatch, capsys):
  """command(module, *flags) -> (exit code, stdout, stderr), as typed."""
  def call(module, *flags):
    def run(config):
      module.run(config)
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, flags)])
    config_cls = module.run.__annotations__["config"]
    config_cls = getattr(module, config_cls) if isinstance(
        config_cls, str) else config_cls
    with pytest.raises(SystemExit) as ended:
      config_flags.launch(config_cls, run)
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err
  return call


@pytest.fixture(scope="session")
def files(tmp_path_factory):
  """A user's files: the same text in three formats, chats, problems."""
  import pyarrow
  import pyarrow.parquet
  directory = tmp_path_factory.mktemp("files")
  rng = np.random.default_rng(0)
  texts = [words(rng, 150) for _ in range(40)]
  (directory / "book.txt").write_text("\n\n".join(texts * 2))
  write_jsonl(directory / "texts.jsonl", [{"text": t} for t in texts])
  pyarrow.parquet.write_table(pyarrow.table({"text": texts}),
                              directory / "texts.parquet")
  write_jsonl(directory / "chats.jsonl", [
      {"messages": [{"role": "user", "content": words(rng, 2)},
                    {"role": "assistant", "content": words(rng, 4)}]}
      for _ in range(24)])
  write_jsonl(directory / "problems.jsonl", [
      {"prompt": f"{a}+{b}?", "answer": a + b}
      for a in range(2, 7) for b in range(2, 7)])
  return directory
