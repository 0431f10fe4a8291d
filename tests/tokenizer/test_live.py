"""The page's script encodes as Python does; run with node, if there is one."""

import json
import pathlib
import random
import shutil
import subprocess
import unicodedata

import pytest
import tokenizers

from llm_jax.config import TokenizerConfig
from llm_jax.tokenizer import live
from llm_jax.tokenizer.bpe import BpeTokenizer, train_bpe
from llm_jax.tokenizer.huggingface import HuggingFaceTokenizer
from llm_jax.tokenizer.sentencepiece import (
    SentencePieceTokenizer, train_sentencepiece)
from llm_jax.tokenizer.split_pattern import PATTERNS, split_pattern
from mixed_texts import HARD_TEXTS, random_texts

SCRIPT = pathlib.Path(live.__file__).with_suffix(".js")
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None, reason="node (nodejs.org) is not installed: nothing here to "
    "run the page's script with")

_RUN = """
const fs = require("fs");
eval(fs.readFileSync(process.argv[1], "utf8") + ";run = makeEncoder");
const {vocabulary, texts} = JSON.parse(fs.readFileSync(0, "utf8"));
const {encode, bytesOf} = run(vocabulary);
process.stdout.write(JSON.stringify(texts.map((text) => {
  const ids = encode(text);
  return [ids, ids.map((id) => bytesOf(id))];
})));
"""


@pytest.fixture(scope="module")
def texts(corpus):
  """A thousand strings of mixed Unicode, and whole pages."""
  rng = random.Random(1)
  words = ["naïve", "Straße", "数学", "हिन्दी", "русский", "🙂‍↔️", "l'été", "123",
           "don't", "WE'LL", "<|endoftext|>", "▁", "\n\n", "  ", "x=y+1;"]
  mixed = [" ".join(rng.choices(words, k=rng.randrange(1, 12)))
           for _ in range(200)]
  return [t for t in HARD_TEXTS + mixed + random_texts(800, seed=2)
          + [text[:3000] for text in corpus]]


def in_the_browser(tokenizer, texts):
  """[(ids, bytes of each)] by the script."""
  vocabulary = live.live_vocabulary(tokenizer)
  assert vocabulary["kind"] != "static", vocabulary
  done = subprocess.run(
      [NODE, "-e", "let run;" + _RUN, str(SCRIPT)], text=True, timeout=120,
      input=json.dumps({"vocabulary": vocabulary, "texts": texts}),
      capture_output=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout)


def assert_same(tokenizer, texts):
  for text, (ids, spelled) in zip(texts, in_the_browser(tokenizer, texts),
                                  strict=True):
    expected = tokenizer.encode(text)
    assert ids == expected, repr(text[:80])
    assert [bytes(b) for b in spelled] == [
        tokenizer.token_bytes(i) for i in expected]


@needs_node
@pytest.mark.parametrize("pattern", ["default", *PATTERNS])
def test_byte_level(corpus, texts, pattern):
  assert_same(train_bpe(corpus, TokenizerConfig(
      vocab_size=900, pattern=pattern)), texts)


@needs_node
def test_ids_with_holes_and_a_pattern_with_possessive_parts(bpe, texts):
  ranks = {token: i * 2 + 5 for token, i in bpe.ranks.items()}
  assert_same(BpeTokenizer(
      ranks, {"<|endoftext|>": 0},
      r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
      r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"), texts)


@needs_node
@pytest.mark.parametrize("kind", ["sentencepiece", "sentencepiece_bpe"])
def test_sentencepiece(corpus, texts, kind):
  tokenizer = train_sentencepiece(corpus, TokenizerConfig(
      kind=kind, vocab_size=900))
  assert live.live_vocabulary(tokenizer)["words_apart"]
  assert_same(tokenizer, texts)


def huggingface(corpus, steps, normalizer=None):
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  if normalizer:
    tokenizer.normalizer = normalizer
  tokenizer.train_from_iterator(corpus, tokenizers.trainers.BpeTrainer(
      vocab_size=900, special_tokens=["<|endoftext|>"], show_progress=False,
      initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
  return HuggingFaceTokenizer(tokenizer.to_str())


@needs_node
def test_vocabularies_that_list_their_merges(corpus, texts):
  pre = tokenizers.pre_tokenizers
  # SmolLM2's steps, and Qwen's.
  assert_same(huggingface(corpus, [
      pre.Digits(individual_digits=True),
      pre.ByteLevel(add_prefix_space=False, use_regex=True)]), texts)
  # Bytes that the vocabulary lacks are passed over.
  lacking = tokenizers.Tokenizer(tokenizers.models.BPE())
  lacking.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
  lacking.decoder = tokenizers.decoders.ByteLevel()
  lacking.train_from_iterator(corpus[:2], tokenizers.trainers.BpeTrainer(
      vocab_size=500, show_progress=False))
  assert_same(HuggingFaceTokenizer(lacking.to_str()), texts)
  # How characters are composed is known to `tokenizers` for old ones only.
  old = unicodedata.ucd_3_2_0
  texts = [text for text in texts if all(
      old.category(char) != "Cn" for char in text)]
  assert len(texts) > 300
  assert_same(huggingface(corpus, [
      pre.Split(tokenizers.Regex(split_pattern(1)), "isolated"),
      pre.ByteLevel(add_prefix_space=False, use_regex=False)],
      tokenizers.normalizers.NFC()), texts)


def test_what_cannot_run_says_why(corpus, bpe):
  pre = tokenizers.pre_tokenizers
  few = ["ab ab, cd cd."]

  def why(tokenizer):
    vocabulary = live.live_vocabulary(tokenizer)
    assert vocabulary["kind"] == "static"
    return vocabulary["why"]

  byte_level = pre.ByteLevel(add_prefix_space=False, use_regex=False)
  assert "normalises" in why(huggingface(
      few, [byte_level], tokenizers.normalizers.Lowercase()))
  assert "way of its own" in why(huggingface(few, [
      pre.Punctuation(), byte_level]))
  assert "end of a line" in why(huggingface(few, [
      pre.Split(tokenizers.Regex(r"\S+$|\S+"), "isolated"), byte_level]))
  assert "(?>" in why(BpeTokenizer(bpe.ranks, {}, r"(?>\s+)|\S+"))
  assert "set within a set" in why(BpeTokenizer(bpe.ranks, {}, r"[a[bc]]|."))
  pieces = train_sentencepiece(corpus, TokenizerConfig(
      kind="sentencepiece", vocab_size=900))
  model = pieces.model_bytes.replace(b"identity", b"nmt_nfkc")
  assert "normalises" in why(SentencePieceTokenizer(model))


@pytest.mark.parametrize("pattern, expected", [
    (r"\s+(?!\S)|[^\s\p{L}]", r"\p{White_Space}+(?!\P{White_Space})"
                              r"|[^\p{White_Space}\p{L}]"),
    (r"\p{N}{1,3}+|a++|b?+|c*+", r"\p{N}{1,3}|a+|b?|c*"),
    (r"[!\"#\-/\]{|}]\'", r'[!"#\-/\]{|}]' "'"),
    (r"\s++$", r"\p{White_Space}+(?![\s\S])"),
])
def test_patterns_are_translated(pattern, expected):
  assert live.browser_pattern(pattern, possessive=True) == expected
