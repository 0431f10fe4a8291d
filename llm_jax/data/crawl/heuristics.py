"""Rules that tell prose from what else there is: Gopher's, C4's, FineWeb's.

The rules are datatrove's, as FineWeb ran them; this gives them our settings,
words that are cut without spaCy, and each language's stop words. Sources and
thresholds stand with the settings, in `config_crawl.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter,
    GopherRepetitionFilter)
from datatrove.pipeline.filters.base_filter import BaseFilter

from llm_jax.config_crawl import (
    C4Config, FineWebConfig, GopherQualityConfig, GopherRepetitionConfig)
from llm_jax.data.crawl.languages import STOP_WORDS
from llm_jax.data.crawl.words import word_tokenizer


class PerLanguage(BaseFilter):
  """Hands each document to the filter of its language.

  A filter is made when the first document of its language comes by. Counts
  that filters make are this step's.
  """

  def __init__(self, name: str, make: Callable[[str], BaseFilter]):
    """Takes the step's name and what makes the filter of a language."""
    super().__init__()
    self.name = name
    self._make, self._filters = make, {}

  def filter(self, document: Document) -> bool | tuple[bool, str]:
    """What the filter of its language says."""
    language = document.metadata.get("language") or "en"
    if language not in self._filters:
      self._filters[language] = self._make(language)
      self._filters[language].stats = self.stats
    return self._filters[language].filter(document)


def gopher_repetition(config: GopherRepetitionConfig,
                      words: str = "unicode") -> BaseFilter:
  """Removes documents that repeat themselves; reasons as Table A1 has them."""
  def make(language: str) -> BaseFilter:
    return GopherRepetitionFilter(
        dup_line_frac=config.dup_line_frac, dup_para_frac=config.dup_para_frac,
        dup_line_char_frac=config.dup_line_char_frac,
        dup_para_char_frac=config.dup_para_char_frac,
        top_n_grams=tuple(enumerate(config.top_ngrams, start=2)),
        dup_n_grams=tuple(enumerate(config.dup_ngrams, start=5)),
        language=word_tokenizer(words, language))
  return PerLanguage("gopher_repetition", make)


def gopher_quality(config: GopherQualityConfig,
                   words: str = "unicode") -> BaseFilter:
  """Removes documents that do not look like prose; reasons are `gopher_...`."""
  def make(language: str) -> BaseFilter:
    stop_words = STOP_WORDS.get(language, ())
    return GopherQualityFilter(
        # Of a document without a word datatrove takes the mean of nothing.
        min_doc_words=max(config.min_words, 1),
        max_doc_words=config.max_words,
        min_avg_word_length=config.min_word_length,
        max_avg_word_length=config.max_word_length,
        max_symbol_word_ratio=config.max_symbol_ratio,
        max_bullet_lines_ratio=config.max_bullet_lines,
        max_ellipsis_lines_ratio=config.max_ellipsis_lines,
        # datatrove's name is the opposite of what it does.
        max_non_alpha_words_ratio=config.min_alpha_words,
        min_stop_words=config.min_stop_words if stop_words else 0,
        stop_words=list(stop_words), language=word_tokenizer(words, language))
  return PerLanguage("gopher_quality", make)


def c4(config: C4Config, words: str = "unicode") -> BaseFilter:
  """Takes lines out, and removes pages that have too few sentences left."""
  def make(language: str) -> BaseFilter:
    return C4QualityFilter(
        filter_no_terminal_punct=config.terminal_punctuation,
        min_num_sentences=config.min_sentences or -1,
        min_words_per_line=config.min_words_per_line or -1,
        max_word_length=config.max_word_length or -1,
        filter_javascript=config.javascript,
        filter_lorem_ipsum=config.lorem_ipsum,
        filter_curly_bracket=config.curly_bracket,
        filter_policy=config.policy, language=word_tokenizer(words, language))
  return PerLanguage("c4", make)


def fineweb(config: FineWebConfig, words: str = "unicode") -> BaseFilter:
  """Removes lists, scraps and repeated lines."""
  def make(language: str) -> BaseFilter:
    return FineWebQualityFilter(
        line_punct_thr=config.line_punctuation,
        short_line_thr=config.short_lines,
        short_line_length=config.short_line_length,
        char_duplicates_ratio=config.duplicate_characters,
        new_line_ratio=config.newline_ratio,
        language=word_tokenizer(words, language))
  return PerLanguage("fineweb", make)
