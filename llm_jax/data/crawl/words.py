"""How filters and deduplication cut text into words and sentences.

datatrove cuts English (and most languages) with spaCy's rules, at about 0.6 MB
a second and core, once or twice for each document: more than half of all the
time of a run, for counts and shingles that hardly change (0.4% more words on
English Wikipedia). `unicode` is one regular expression over Unicode's
properties, some twenty times as fast, and needs no package. Languages that are
written without spaces are cut into single characters, as far as their scripts
are known to be so.
"""

from __future__ import annotations

import regex
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer

from llm_jax.config import ConfigError

_UNSPACED = (r"\p{Han}\p{Hiragana}\p{Katakana}"
             r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}")
_LETTERS = rf"[\w--[{_UNSPACED}]]"
# A character of an unspaced script with its marks; a word, with points and
# commas inside (3.14, 1,000) and an apostrophe before the next (l', don'); or a
# sign. Cut at each of those signs, one French page in four would have too few
# words with letters for Gopher's rule, where spaCy's words have one in ten.
_WORD = regex.compile(rf"[{_UNSPACED}]\p{{M}}*"
                      rf"|{_LETTERS}+(?:[.,]{_LETTERS}+)*(?:['’](?={_LETTERS}))?"
                      r"|[^\w\s]", regex.VERSION1)
# Up to a stop (with quotes and brackets after it) before a space, an
# ideographic stop, a line's end or the end of the text. The first character may
# be anything; stops that no space follows (3.5, ...and) are passed over whole,
# so that a million of them in a row cost no more than other characters.
_STOPS, _AFTER = "[.!?…]++", r"[\"'”’»)\]]*+(?=\s|$)"
_SENTENCE = regex.compile(
    rf"[^\n](?:{_STOPS}{_AFTER}|(?:(?<=[.!?…]){_STOPS})?"
    rf"(?:[^\n.!?…。！？]++|{_STOPS}(?!{_AFTER}))*+"
    rf"(?:{_STOPS}{_AFTER}|[。！？]+[」』”’）]*)?)")


class UnicodeWords(WordTokenizer):
  """Words, sentences and their places by Unicode's properties."""

  def word_tokenize(self, text: str) -> list[str]:
    """Words and signs, in order."""
    return _WORD.findall(text)

  def sent_tokenize(self, text: str) -> list[str]:
    """Sentences: up to a stop that a space follows, or a line's end."""
    return [text[start:end] for start, end in self.span_tokenize(text)]

  def span_tokenize(self, text: str) -> list[tuple[int, int]]:
    """Where the sentences are, as (start, end), without spaces around them."""
    spans = []
    for match in _SENTENCE.finditer(text):
      start, end = match.span()
      piece = text[start:end]
      start += len(piece) - len(piece.lstrip())
      end = start + len(piece.strip())
      if end > start:
        spans.append((start, end))
    return spans

  def __eq__(self, other: object) -> bool:
    return isinstance(other, UnicodeWords)

  def __hash__(self) -> int:
    return hash(UnicodeWords)


def word_tokenizer(words: str, language: str = "en") -> WordTokenizer:
  """The tokenizer of `--curate.words` for a language (ISO 639-1).

  Raises:
    ConfigError: spaCy is asked for, and is not installed or does not know the
      language.
  """
  if words == "unicode":
    return UnicodeWords(language)
  try:
    tokenizer = load_word_tokenizer(language)
    tokenizer.word_tokenize("a word")
  except (ImportError, ValueError) as error:
    raise ConfigError(
        f"curate.words=spacy cannot cut {language!r} into words ({error}); "
        "install spacy, or leave --curate.words=unicode.") from error
  return tokenizer
