"""Where byte pairs may not merge: the regular expression that cuts text first.

Without it the commonest merges of English are "e ", ", " and "dog." next to
"dog!" and "dog?": the vocabulary is spent on the same words with different
neighbours (Radford et al. 2019, section 2.2). So text is cut into pieces - a
word with the space before it, a few digits, a run of punctuation, a run of
spaces - and no token crosses a cut.

The pattern is that of GPT-4 (`cl100k_base`, as OpenAI's tiktoken first
published it in openai_public.py; Llama 3 uses it too) with two changes:

* the length of digit runs is a parameter. With {1,3}, "1234" is 123|4 while
  "234" is 234, so the place value of a token depends on the length of the
  number; with 1, a digit is a token and column arithmetic can be learnt by a
  small model, at the price of longer sequences.
* English contractions are spelt as ASCII classes in place of `(?i:...)`:
  under Unicode case folding the latter also matches U+017F, and regular
  expression engines differ in what they fold.

It has no possessive quantifiers. `x{1,3}+` is possessive to Rust's engine and
a plain repetition of the group to Oniguruma's, and the two must agree: one
encodes here (tiktoken), the other in every program that reads our
tokenizer.json (tokenizers).
"""

from __future__ import annotations

_GPT4_STYLE = (
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"  # it's, we'll, I've, you're
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"          # a word, with one leading non-letter
    r"|\p{N}{1,MAX_DIGITS}"               # a few digits
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"         # punctuation, with line ends after it
    r"|\s*[\r\n]+"                        # blank lines
    r"|\s+(?!\S)"                         # spaces, leaving one for the word
    r"|\s+")

# GPT-2's own (openai/gpt-2, src/encoder.py): what `tokenizers` means by a
# `ByteLevel` pre-tokenizer with `use_regex`.
GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+")


def split_pattern(max_digits: int) -> str:
  """The GPT-4 style pattern with at most `max_digits` digits in a token."""
  return _GPT4_STYLE.replace("MAX_DIGITS", str(max_digits))
