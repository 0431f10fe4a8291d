r"""Where in a completion its answer stands: one rule for every task.

What comes before the last "</think>" is thought and no answer; a "<think>" that
is never closed has no answer behind it. Of the rest, the first of these that
is there:

  1. what the last <answer>...</answer> holds
  2. what follows "####" on the last line that begins with it
  3. what the last \boxed{...} holds
  4. the last line that is not empty

The first three are marked: the model said that this is its answer.
"""

from __future__ import annotations

import re
from fractions import Fraction

_ANSWER_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_HASHES = re.compile(r"^####(?!#)[ \t]*(.*)$", re.MULTILINE)
_BOXES = 8  # looked at, from the last: a model may open thousands
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
# 100 digits: arithmetic on a text of thousands is slow, or an error.
_NUMBER = re.compile(
    r"[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d{1,100})?(?:\.\d{1,100})?"
    r"(?:[eE][-+]?\d{1,3})?(?:/\d{1,100})?", re.ASCII)
_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(-?\d{1,100})\}\{(\d{1,100})\}",
                       re.ASCII)


def without_thought(text: str) -> str:
  """What comes after the thinking; "" where it never ends."""
  before, closed, after = text.rpartition("</think>")
  if closed:
    return after
  return "" if "<think>" in text else text


def marked_answer(text: str) -> str | None:
  """What a completion marks as its answer (rules 1 to 3), or None."""
  text = without_thought(text)
  if tags := _ANSWER_TAG.findall(text):
    return tags[-1].strip()
  if hashes := _HASHES.findall(text):
    return hashes[-1].strip()
  return boxed(text)


def read_answer(text: str) -> str:
  """The answer of a completion by all four rules; "" where there is none."""
  marked = marked_answer(text)
  if marked is not None:
    return marked
  lines = without_thought(text).strip().splitlines()
  return lines[-1].strip() if lines else ""


def boxed(text: str) -> str | None:
  r"""What the last \boxed{...} with its braces closed holds, or None."""
  for match in reversed(list(_BOXED.finditer(text))[-_BOXES:]):
    depth = 1
    for place in range(match.end(), len(text)):
      depth += {"{": 1, "}": -1}.get(text[place], 0)
      if not depth:
        return text[match.end():place].strip()
  return None


def read_number(text: str) -> Fraction | None:
  """The one number in a text, exactly; None where there is none, or several.

  "1,234.50", "-7", "2/3", "6e2", "$5.00", "42 apples", "The answer is 42." and
  "\\frac{2}{3}" are numbers; "3 + 4" has two, which is none.
  """
  if len(text) > 1000:
    return None
  text = _FRACTION.sub(r" \1\2/\3 ", text)
  found = [m.group() for m in _NUMBER.finditer(text)
           if any(c.isdigit() for c in m.group())
           and not text[max(m.start() - 1, 0):m.start()].isalpha()]  # no "x2"
  if len(found) != 1:
    return None
  number = found[0].replace(",", "").replace("\u2212", "-")
  number, _, denominator = number.partition("/")
  try:
    return Fraction(number) / Fraction(denominator or 1)
  except (ValueError, ZeroDivisionError):
    return None
