"""The experiment: from files to shards, kept when nothing changed."""

import dataclasses

from byte_tokenizer import ByteTokenizer
import pytest

from experiments import tokenize_corpus
from llm_jax.config import ConfigError, TextConfig, TokenizeCorpusConfig
from llm_jax.data.token_shards import TokenShards


@pytest.fixture
def config(tmp_path, monkeypatch):
  monkeypatch.setattr("llm_jax.tokenizer.loading.load_tokenizer",
                      lambda path: ByteTokenizer(shift=len(path) % 2))
  (tmp_path / "texts").mkdir()
  for i in range(50):
    (tmp_path / "texts" / f"{i:02d}.txt").write_text(f"Text number {i}.")
  return TokenizeCorpusConfig(
      data=TextConfig(path=str(tmp_path / "texts"), validation_fraction=0.1),
      tokenizer="even", output=str(tmp_path / "shards"))


def test_made_once_and_kept(config):
  first = tokenize_corpus.run(config)
  assert not first["skipped"]
  counts = [first["splits"][split]["num_documents"]
            for split in ("train", "validation")]
  assert sum(counts) == 50 and 0 < counts[1] < 20
  assert TokenShards.open(config.output).num_tokens("train") > counts[0]
  second = tokenize_corpus.run(config)
  assert second["skipped"]
  assert second["splits"] == first["splits"]


def test_held_out_documents_of_another_file(config, tmp_path):
  held_out = tmp_path / "held_out.jsonl"
  held_out.write_text('{"text": "Text number 7."}\n{"text": "New."}\n')
  config = dataclasses.replace(config, data=dataclasses.replace(
      config.data, validation_path=str(held_out)))
  meta = tokenize_corpus.run(config)
  counts = {split: meta["splits"][split]["num_documents"]
            for split in ("train", "validation")}
  assert counts == {"train": 49, "validation": 2}
  assert tokenize_corpus.run(config)["skipped"]
  held_out.write_text('{"text": "New."}\n')
  meta = tokenize_corpus.run(config)
  assert meta["splits"]["train"]["num_documents"] == 50


@pytest.mark.parametrize("change", ["text", "tokenizer", "seed", "fraction",
                                    "damage"])
def test_made_again_when_something_changed(config, tmp_path, change):
  tokenize_corpus.run(config)
  if change == "text":
    (tmp_path / "texts" / "00.txt").write_text("Another text.")
  elif change == "tokenizer":
    config = dataclasses.replace(config, tokenizer="odd")
  elif change == "seed":
    config = dataclasses.replace(config, seed=1)
  elif change == "fraction":
    config = dataclasses.replace(config, data=dataclasses.replace(
        config.data, validation_fraction=0.3))
  else:
    (tmp_path / "shards" / "train-00000.npy").write_bytes(b"")
  assert not tokenize_corpus.run(config)["skipped"]
  assert tokenize_corpus.run(config)["skipped"]


def test_finished_shards_are_verified_when_asked(config, tmp_path, capsys):
  tokenize_corpus.run(config)
  check = dataclasses.replace(config, verify=True)
  assert tokenize_corpus.run(check)["splits"]["train"]["num_documents"] > 30
  assert "4 files of" in capsys.readouterr().out
  shard = tmp_path / "shards" / "train-00000.npy"
  content = bytearray(shard.read_bytes())
  content[-1] ^= 1
  shard.write_bytes(content)
  with pytest.raises(ConfigError, match="train-00000.npy is not what was"):
    tokenize_corpus.run(check)
  with pytest.raises(ConfigError, match="has no meta.json"):
    tokenize_corpus.run(dataclasses.replace(
        check, output=str(tmp_path / "none")))


def test_an_interrupted_run_goes_on(config, tmp_path, monkeypatch, capsys):
  from llm_jax.data import documents
  config = dataclasses.replace(config, tokens_per_shard=150)
  tokenize_corpus.run(dataclasses.replace(config, output=str(tmp_path / "a")))
  read = documents.iter_documents

  def cut_off(data):
    for i, document in enumerate(read(data)):
      if i == 40:
        raise OSError("the disk is gone")
      yield document

  monkeypatch.setattr("llm_jax.data.shard_writer.BATCH_DOCUMENTS", 5)
  with monkeypatch.context() as patch:
    patch.setattr(documents, "iter_documents", cut_off)
    patch.setattr(documents, "LOOKAHEAD", 10)
    with pytest.raises(OSError, match="disk is gone"):
      tokenize_corpus.run(config)
  tokenize_corpus.run(config)
  assert "going on after" in capsys.readouterr().out
  for path in (tmp_path / "a").iterdir():
    if path.is_file():
      assert (tmp_path / "shards" / path.name).read_bytes() == (
          path.read_bytes())


def test_mistakes(config, tmp_path):
  for path, expected in ((str(tmp_path / "none"), "does not exist"),
                         ("", "data.path is empty")):
    wrong = dataclasses.replace(config, data=TextConfig(path=path))
    with pytest.raises(ConfigError, match=expected):
      tokenize_corpus.run(wrong)
  assert not (tmp_path / "shards").exists()


def test_quickstart_config():
  from configs import quickstart_corpus
  config = quickstart_corpus.get_config()
  config.validate()
  # What the stage before it writes, and the articles that are on no page.
  assert config.data.path == "runs/quickstart/curate/documents"
  assert config.data.validation_path.endswith("crawl/validation.jsonl")
