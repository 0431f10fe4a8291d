"""Sources of finetuning: shares, passes, what is held out, what is told."""

import collections
import json

from byte_tokenizer import ByteTokenizer
import numpy as np
import pytest

from llm_jax.config import ConfigError, SftConfig, SftDataConfig
from llm_jax.data import pipeline
from llm_jax.data.conversation_sources import load_sources
from llm_jax.data.documents import Document
from llm_jax.data.shard_writer import write_shards

SEQ_LEN, BATCH = 48, 8
TOKENIZER = ByteTokenizer()
# Letters that tell the source; conversations of a row's length each.
FILES = {"alpha": ("a", 40), "beta": ("b", 10)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp("sources")
  for name, (letter, count) in FILES.items():
    (root / f"{name}.jsonl").write_text("".join(json.dumps(
        {"prompt": letter * 8 + str(i % 10), "response": letter * (20 + i % 9)}
    ) + "\n" for i in range(count)))
  text = [("validation" if i == 0 else "train", Document("text" * 60, ""))
          for i in range(4)]
  write_shards(text, TOKENIZER, str(root / "shards"),
               progress=lambda line: None)
  return root


def load(config, **options):
  told = []
  sources = load_sources(config, TOKENIZER, SEQ_LEN, 0, told.append, **options)
  return sources, told


def batches(sources, seed=0):
  return pipeline.mixed_dataset(
      [(source.train, source.share) for source in sources], BATCH, seed)


def letters(dataset, count):
  """How many rows of each source are in the first `count` batches."""
  found = collections.Counter()
  for n in range(count):
    for row in dataset[n]["tokens"]:
      text = bytes(int(t) for t in row if t < 256).decode()
      found["text" if text[0] in "tex" else text[0]] += 1
  return found


def test_weights_are_shares_of_the_rows(folder):
  sources, told = load(SftDataConfig(
      mixture=(f"{folder}/alpha.jsonl:1", f"{folder}/beta.jsonl:3"),
      validation_fraction=0.2))
  assert [s.name for s in sources] == ["alpha.jsonl", "beta.jsonl"]
  assert [s.share for s in sources] == [0.25, 0.75]
  assert letters(batches(sources), 10) == {"a": 20, "b": 60}
  for source, (_, count) in zip(sources, FILES.values()):
    assert list(source.validation) == [source.name]
    held_out = len(source.validation[source.name])
    assert 0 < held_out < len(source.train)
    assert source.what == f"{count - held_out} conversations"
    assert source.passes(8 * len(source.train)) == 8 * source.share
    assert sum(line.startswith(f"{source.name}: packed") for line in told) == 2
    assert any(line.startswith(f"{source.name}: {folder}/{source.name}: read "
                               "as prompt_response") for line in told)


def test_passes_are_of_each_source(folder):
  sources, _ = load(SftDataConfig(
      mixture=(f"{folder}/alpha.jsonl:1x", f"{folder}/beta.jsonl:3x"),
      validation_fraction=0))
  assert [len(s.train) for s in sources] == [40, 10]
  assert [s.share for s in sources] == [40 / 70, 30 / 70]
  # 70 rows are one pass over the one and three over the other.
  assert sources[0].passes(70) == 1 and sources[1].passes(70) == 3
  counts = letters(batches(sources), 70)
  assert counts["a"] == pytest.approx(320, abs=1)


def test_a_batch_is_a_function_of_seed_and_number(folder):
  config = SftDataConfig(
      mixture=(f"{folder}/alpha.jsonl:1", f"{folder}/beta.jsonl:1"))
  first, again = (batches(load(config)[0]) for _ in range(2))
  other = batches(load(config)[0], seed=1)
  for n in (5, 0, 3):
    np.testing.assert_array_equal(first[n]["tokens"], again[n]["tokens"])
  assert any((first[n]["tokens"] != other[n]["tokens"]).any()
             for n in range(4))


def test_text_beside_conversations(folder):
  """A mid-training mixture: of text, every token is learnt."""
  sources, told = load(SftDataConfig(
      mixture=(f"{folder}/alpha.jsonl:0.25", f"{folder}/shards:0.75")))
  assert sources[1].what == "723 tokens of text"
  assert set(sources[1].validation) == {"shards"}
  dataset = batches(sources)
  assert letters(dataset, 10) == {"a": 20, "text": 60}
  batch = dataset[0]
  for row, mask, segments in zip(batch["tokens"], batch["loss_mask"],
                                 batch["segment_ids"]):
    assert (mask == (segments > 0)).all() == (row[5] in b"tex")
  with pytest.raises(ConfigError, match="was made with another tokenizer"):
    load_sources(SftDataConfig(path=f"{folder}/shards"), ByteTokenizer(1),
                 SEQ_LEN, 0, told.append)


def test_one_source_is_what_it_is_alone(folder):
  sources, told = load(SftDataConfig(path=f"{folder}/alpha.jsonl"))
  assert sources[0].share == 1 and set(sources[0].validation) == {"file"}
  # Of all 40: 14 tokens around 20 to 28, of which those and <|end|> count.
  assert 40 * 14 + sum(20 + i % 9 for i in range(40)) == 1473 + 37
  assert told == [
      f"{folder}/alpha.jsonl: read as prompt_response",
      "packed 39 conversations (1,473 tokens, 65.6% of them trained) into 39 "
      "rows of 48 tokens, 78.7% full",
      "packed 1 conversations (37 tokens, 64.9% of them trained) into 1 rows "
      "of 48 tokens, 77.1% full"]


def test_too_long_is_told_with_file_and_line(folder, tmp_path):
  path = tmp_path / "long.jsonl"
  turns = [{"role": ("user", "assistant")[i % 2], "content": "x" * 12}
           for i in range(4)]
  rows = [{"messages": turns[:2]}, {"messages": turns},
          {"messages": [turns[0], {"role": "assistant", "content": "y" * 99}]}]
  path.write_text("\n".join(map(json.dumps, rows)))
  def told_of(**settings):
    return load(SftDataConfig(path=str(path), validation_fraction=0,
                              **settings))
  with pytest.raises(ConfigError) as caught:
    told_of()
  for part in (f"{path}:2 has 57 tokens", "2 of 3 conversations are longer than"
               " seq_len=48", "--data.overlong=trim", "=skip"):
    assert part in str(caught.value)
  sources, told = told_of(overlong="trim")
  assert told[-1].startswith("packed 2 conversations (")
  assert told[-1].endswith("; of 3, 1 were trimmed to their answers that fit, 1"
                           " left out because none does")
  for settings in ({"overlong": "skip"}, {"on_error": "skip"}):
    _, told = told_of(**settings)
    assert told[-1].endswith("; of 3, 0 were trimmed to their answers that "
                             "fit, 2 left out as too long")


def test_what_the_template_refuses_is_told(tmp_path):
  """Here: a vocabulary without the tokens of tools."""
  path = tmp_path / "tools.jsonl"
  user = {"role": "user", "content": "x"}
  call = {"role": "assistant", "content": "", "tool_calls": [
      {"type": "function", "function": {"name": "f", "arguments": {}}}]}
  path.write_text("\n".join(json.dumps({"messages": m}) for m in (
      [user, {"role": "assistant", "content": "y"}], [user, call])))
  config = SftDataConfig(path=str(path), validation_fraction=0)
  with pytest.raises(ConfigError, match=f"{path}:2: this tokenizer lacks"):
    load(config)
  _, told = load(SftDataConfig(path=str(path), validation_fraction=0,
                               on_error="skip"))
  assert told[1].startswith("left out 1 of 2 conversations, which cannot be "
                            f"written; the first: {path}:2: this tokenizer")


def test_held_out_conversations_of_their_own(folder, tmp_path):
  rows = [json.loads(line) for line in
          (folder / "beta.jsonl").read_text().splitlines()]
  def messages(row, **fields):
    return json.dumps(fields | {"messages": [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["response"]}]})
  path = tmp_path / "held_out.jsonl"
  path.write_text("\n".join([messages(rows[0], kind="one"),
                             messages(rows[1], kind="two"),
                             messages({"prompt": "x", "response": "y"})]))
  sources, told = load(SftDataConfig(path=f"{folder}/beta.jsonl",
                                     validation_path=str(path)))
  assert set(sources[0].validation) == {"one", "two", "file"}
  assert len(sources[0].train) == 8
  assert any(line.startswith("2 conversations of") for line in told)
  with pytest.raises(ConfigError, match="goes with one data.path"):
    SftDataConfig(validation_path="x", mixture=("a:1",)).validate()


@pytest.mark.parametrize("mixture, sentence", [
    (("a.jsonl",), "is PATH:WEIGHT"), (("a.jsonl:0",), "is PATH:WEIGHT"),
    (("a.jsonl:x",), "is PATH:WEIGHT"), (("a:nanx",), "is PATH:WEIGHT"),
    (("a:1", "a:2"), "names a path twice"),
    (("a:1", "b:2x"), "weights and passes")])
def test_mixtures_that_are_none(mixture, sentence):
  with pytest.raises(ConfigError, match=sentence):
    SftConfig(data=SftDataConfig(mixture=mixture)).validate()
