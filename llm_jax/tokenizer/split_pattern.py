"""Where byte pairs may not merge: the regular expression that cuts text first.

Without it the commonest merges of English are "e ", ", " and "dog." next to
"dog!" and "dog?": the vocabulary is spent on the same words with different
neighbours (Radford et al. 2019, section 2.2). So text is cut into pieces - a
word with the space before it, a few digits, a run of punctuation, a run of
spaces - and no token crosses a cut.

Ours is that of GPT-4 as it was first published (`cl100k_base` in tiktoken's
openai_public.py; Llama 3 uses it too) with two changes:

* the length of digit runs is a parameter. With {1,3}, "1234" is 123|4 while
  "234" is 234, so the place value of a token depends on the length of the
  number; with 1, a digit is a token and column arithmetic can be learnt by a
  small model, at the price of longer sequences.
* English contractions are in ASCII: under Unicode case folding `(?i:'s)` also
  matches U+017F, the long s.

The patterns of others (`PATTERNS`) cut just as theirs do, but are spelt in a
way that three engines understand alike: Rust's encodes here (tiktoken),
Oniguruma's wherever our tokenizer.json is read (tokenizers), and a browser's
in the page of tokens. So there are no possessive quantifiers (`x{1,3}+` is
possessive to Rust's engine and a plain repetition of the group to
Oniguruma's), no `$` (to Oniguruma's also the end of a line), and no `(?i:...)`
(engines differ in what they fold).
"""

from __future__ import annotations

from llm_jax.config import require_choice

_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"          # with one leading non-letter
_MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"        # with the line ends after it
SPACES = (r"\s*[\r\n]+"                      # blank lines
           r"|\s+(?!\S)"                      # spaces, leaving one for the word
           r"|\s+")
_AT_THE_END = r"\s+(?![\s\S])"                # spaces that end the text


def _contraction(s: str) -> str:
  """it's, don't, I'm, you'd, we'll, I've, you're; `s` is what folds to s."""
  return rf"'(?:[{s}dDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"


def cased_pattern(contraction: str, digits: str) -> str:
  """Words end where a capital letter follows a small one."""
  upper = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
  lower = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
  before = r"[^\r\n\p{L}\p{N}]?"
  return (f"{before}{upper}*{lower}+{contraction}"
          f"|{before}{upper}+{lower}*{contraction}"
          rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}")


CONTRACTION = _contraction("sS")
FOLDED_CONTRACTION = _contraction("sS\u017f")
_GPT4_STYLE = (rf"{CONTRACTION}|{_WORD}|\p{{N}}{{1,MAX_DIGITS}}|{_MARKS}"
               rf"|{SPACES}")

# GPT-2's own (openai/gpt-2, src/encoder.py): what `tokenizers` means by a
# `ByteLevel` pre-tokenizer with `use_regex`.
GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+")

PATTERNS = {
    "gpt2": GPT2_PATTERN,
    # As tiktoken has it now: spaces at the very end of a text are one piece.
    "cl100k": rf"{FOLDED_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_MARKS}"
              rf"|{_AT_THE_END}|{SPACES}",
    "o200k": cased_pattern(rf"(?:{FOLDED_CONTRACTION})?", r"\p{N}{1,3}"),
    # meta-llama/llama3, llama/tokenizer.py: cl100k's first form.
    "llama3": rf"{FOLDED_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_MARKS}|{SPACES}",
}


def split_pattern(max_digits: int, name: str = "default") -> str:
  """The pattern of that name.

  Args:
    max_digits: digits in a token at most, of the default.
    name: "default", ours; or one of `PATTERNS`, which have digits of their own.

  Raises:
    ConfigError: there is no pattern of that name.
  """
  require_choice("tokenizer.pattern", name, ("default", *PATTERNS))
  if name == "default":
    return _GPT4_STYLE.replace("MAX_DIGITS", str(max_digits))
  return PATTERNS[name]
