"""Whether an answer in free words agrees with the truth, by rules.

    judge("She was born in London in 1984.", "1984")       -> "correct"
    judge("Not in 1984, but a year later.", "1984")        -> "wrong"
    judge("In 1984 or 1985.", "1984")                      -> "wrong"
    judge("I don't know whether it was 1984.", "1984")     -> "refused"

The truth has to be *stated*: to stand in the answer as words of their own,
whatever their case, accents and the way a number or a date is written, and not
within a denial, a question or a choice of several. Who has said that they do
not know has refused, whatever they go on to guess. A truth of a whole sentence
may also be put in other words, of which enough have to be the same (token F1,
Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1). Rules make mistakes that
a reader would not; they make the same ones before and after.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
import decimal
import re
import unicodedata

from llm_jax.rl.verifiers import stated_answer

CORRECT, WRONG, REFUSED = VERDICTS = ("correct", "wrong", "refused")

# (question, truth, answer) -> verdict
Judge = Callable[[str, str, str], str]

_LONG_TRUTH = 5  # words from which a truth may be put in other words
_NEAR = 6  # words that a denial reaches over

_ARTICLES = frozenset(("a", "an", "the"))
_NOT = frozenset("not never neither nor without except unlike cannot "
                 "nobody".split())
_NOT_PAIRS = frozenset((("rather", "than"), ("instead", "of"),
                        ("other", "than")))
_IS = frozenset("is was are were would".split())
_FALSE = frozenset("not never wrong incorrect false untrue".split())
_ENDS = frozenset(".!?;:,()\n")
_TURNS = frozenset("but however although though yet while".split())
_SMALL_WORDS = frozenset("in on at by of to from about around the year".split())

_UNITS = ("zero one two three four five six seven eight nine ten eleven twelve "
          "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
          ).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_MONTHS = ("january february march april may june july august september "
           "october november december").split()
_TENS_UNIT = re.compile(rf"\b({'|'.join(_TENS)})[- ]({'|'.join(_UNITS[1:10])})"
                        r"\b")
_NUMBER_WORD = {word: str(n) for n, word in enumerate(_UNITS)} | {
    word: str(10 * n) for n, word in enumerate(_TENS, start=2)} | {
        "none": "0"}
_MONTH = rf"({'|'.join(_MONTHS)})"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_DAY_FIRST = re.compile(rf"\b{_DAY}(?: of)? {_MONTH},? (\d{{4}})\b")
_MONTH_FIRST = re.compile(rf"\b{_MONTH} {_DAY},? (\d{{4}})\b")
_NUMBER = r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)"
_TOKEN = re.compile(rf"\b\d{{4}}-\d\d-\d\d\b|{_NUMBER}|\w+(?:'\w+)*|[^\w ]")

_KNOW = (r"know|recall|remember|recogni[sz]e|find|answer|say|tell|confirm|"
         r"verify|determine|have (?:\w+ )?(?:information|knowledge|data|details"
         r"|records?|idea)")
_REFUSAL = re.compile(
    r"\bi (?:really |honestly |actually |currently )?"
    rf"(?:do not|don't|cannot|can't|can not|could not|couldn't|did not|didn't)"
    rf"(?: really| actually| currently)? (?:{_KNOW})\b"
    r"|\bi(?: am|'m)(?: really| still)? not (?:\w+ )?(?:sure|"
    r"certain|aware|familiar|able)\b"
    r"|\bi(?: am|'m) (?:unable|unsure|uncertain|unaware|unfamiliar)\b"
    r"|\bi(?: have|'ve)(?: got)? no (?:\w+ )?(?:information|knowledge|idea|data"
    r"|details|records?|facts?|memory)\b"
    r"|\bi(?: have|'ve) (?:never|not) (?:heard|read|learn(?:t|ed)|come across"
    r")\b"
    r"|\bi know nothing\b|\bi lack (?:\w+ )?(?:information|knowledge)\b"
    r"|\b(?:not|un)known to me\b|\bbeyond (?:what i know|my knowledge)\b"
    r"|\bno (?:information|record)s? (?:is |are )?(?:available|found|about|on)"
    r"\b"
    r"|\bthere is no (?:\w+ )?(?:information|record)\b")
_QUOTED = re.compile(r"\"[^\"]*\"")


def judge(answer: str, truth: str | Sequence[str], question: str = "", *,
          min_f1: float = 0.7, phrases: Sequence[str] = ()) -> str:
  """The verdict on an answer: one of `VERDICTS`.

  Args:
    answer: what was said.
    truth: what is so; several texts are as many ways to say it; "" or none:
      nothing is, so that whatever is claimed is wrong.
    question: what was asked; it is not evidence, and its words count for
      nothing in the comparison of long texts.
    min_f1: `token_f1` from which a truth of five words or more is met.
    phrases: what refuses besides the phrases that are known (`is_refusal`).
  """
  if is_refusal(answer, phrases):
    return REFUSED
  truths = [truth] if isinstance(truth, str) else list(truth)
  truths = [t for t in truths if t.strip()]
  if any(states(answer, t) for t in truths):
    return CORRECT
  known = frozenset(words(question))
  for each in truths:
    if (len(words(each)) >= _LONG_TRUTH
        and _denials(answer) == _denials(each)
        and token_f1(answer, each, ignore=known) >= min_f1):
      return CORRECT
  return WRONG


def is_refusal(answer: str, phrases: Sequence[str] = ()) -> bool:
  """Whether someone says, of themselves, that they do not know.

  What stands in double quotes is someone else's; a guess that follows ("I am
  not sure, but I think it was 1984") does not take the refusal back.

  Args:
    answer: what was said.
    phrases: further texts that refuse, wherever they stand in it.
  """
  plain = _plain(answer)
  return (_REFUSAL.search(_QUOTED.sub(" ", plain)) is not None
          or any(_plain(phrase) in plain for phrase in phrases))


def states(answer: str, truth: str) -> bool:
  """Whether the answer asserts `truth`, and does not take it back elsewhere.

  True where the truth's words stand in a row, at least once as an assertion
  and never denied. No assertions are: what a "not" stands before or after in
  the same clause, a sentence with a question mark, one of several that "or",
  "between" or a bare list of numbers leaves open, a term of a sum ("46 + 1").
  A year is also stated by a date in it.
  """
  tokens, wanted = _tokens(answer), words(truth)
  if not wanted:
    return False
  places = [i for i, token in enumerate(tokens) if _is_word(token)
            and token not in _ARTICLES]
  said = [tokens[i] for i in places]
  asserted = False
  for first in range(len(said) - len(wanted) + 1):
    if not _equal(said[first:first + len(wanted)], wanted):
      continue
    start, end = places[first], places[first + len(wanted) - 1]
    if _denied(tokens, start, end):
      return False
    asserted |= not (_asked(tokens, end) or _open(tokens, start, end)
                     or _is_term(tokens, end))
  return asserted


def words(text: str) -> list[str]:
  """A text's words and numbers as they are compared: no case, accents, marks
  or articles; numbers as digits, dates as 1984-05-12."""
  return [token for token in _tokens(text)
          if _is_word(token) and token not in _ARTICLES]


def numbers(text: str) -> list[decimal.Decimal]:
  """The numbers of a text in order, those in words and dates left out."""
  return [decimal.Decimal(token) for token in _tokens(text)
          if _is_number(token)]


def final_number(text: str) -> decimal.Decimal | None:
  """The number that an answer ends with: that of "#### N", else the last."""
  stated = stated_answer(text)
  if stated is not None:
    return decimal.Decimal(stated)
  found = numbers(text)
  return found[-1] if found else None


def token_f1(answer: str, truth: str,
             ignore: frozenset[str] = frozenset()) -> float:
  """Harmonic mean of the shares of words that two texts have in common.

  F1 = 2·|A ∩ B| / (|A| + |B|) over multisets of words (Rajpurkar et al. 2016).

  Args:
    answer: a text.
    truth: another.
    ignore: words that do not count, in either.
  """
  first, second = (collections.Counter(
      word for word in words(text) if word not in ignore)
                   for text in (answer, truth))
  total = first.total() + second.total()
  return 2 * (first & second).total() / total if total else 0.0


def answer_key(answer: str, question: str = "") -> tuple[str, ...]:
  """What two answers to a question have equal if they say the same.

  Its numbers if it has any that the question has not; else its words without
  the question's and the smallest ones, in order. All refusals have one key.
  """
  if is_refusal(answer):
    return (REFUSED,)
  asked = frozenset(words(question))
  said = [word for word in words(answer) if word not in asked]
  digits = tuple(word for word in said
                 if word[:1].isdigit() or _is_number(word))
  # Forms of "to be", "he" and the like stand in one wording and not another.
  return digits or tuple(w for w in said if w not in _SMALL_WORDS
                         and w not in _IS and w not in _PRONOUNS)


_PRONOUNS = frozenset("he she it they his her its their i you".split())


def _plain(text: str) -> str:
  """Without case, accents and typographer's marks."""
  text = unicodedata.normalize("NFKD", text).casefold()
  text = "".join(c for c in text if not unicodedata.combining(c))
  for marks, plain in (("‘’ʼ`", "'"), ("“”«»", '"'), ("–—−‐‑", "-")):
    text = re.sub(f"[{marks}]", plain, text)
  return re.sub(r"[^\S\n]+", " ", text)


def _tokens(text: str) -> list[str]:
  """Words, numbers, dates, and each mark by itself."""
  text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", _plain(text))
  text = _TENS_UNIT.sub(
      lambda m: str(int(_NUMBER_WORD[m[1]]) + int(_NUMBER_WORD[m[2]])), text)
  text = _DAY_FIRST.sub(lambda m: _date(m[3], m[2], m[1]), text)
  text = _MONTH_FIRST.sub(lambda m: _date(m[3], m[1], m[2]), text)
  found = []
  for token in _TOKEN.findall(text):
    token = _NUMBER_WORD.get(token.removesuffix("'s"),
                             token.removesuffix("'s"))
    if _is_number(token):  # 3.0 is 3, and 007 is 7
      token = format(decimal.Decimal(token).normalize() + 0, "f")
    found.append(token)
  return found


def _date(year: str, month: str, day: str) -> str:
  return f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}"


def _is_word(token: str) -> bool:
  return token[0].isalnum() or token[0] == "_" or _is_number(token)


def _is_number(token: str) -> bool:
  return re.fullmatch(r"-?\d+(?:\.\d+)?", token) is not None


def _is_year(token: str) -> bool:
  return re.fullmatch(r"[12]\d{3}", token) is not None


def _equal(said: Sequence[str], wanted: Sequence[str]) -> bool:
  if len(wanted) == 1 and _is_year(wanted[0]):
    return said[0] == wanted[0] or re.fullmatch(
        rf"{wanted[0]}-\d\d-\d\d", said[0]) is not None
  return list(said) == list(wanted)


def _is_denial(tokens: Sequence[str], place: int) -> bool:
  after = tokens[place + 1] if place + 1 < len(tokens) else ""
  if tokens[place] == "not" and after == "only":
    return False
  return (tokens[place] in _NOT or tokens[place].endswith("n't")
          or (tokens[place], after) in _NOT_PAIRS)


def _denials(text: str) -> int:
  tokens = _tokens(text)
  return sum(_is_denial(tokens, i) for i in range(len(tokens)))


def _denied(tokens: Sequence[str], start: int, end: int) -> bool:
  """Whether a denial stands before [start, end] in its clause, or after it."""
  for place in range(start - 1, max(-1, start - 1 - _NEAR), -1):
    if tokens[place] in _ENDS or tokens[place] in _TURNS:
      break
    if _is_denial(tokens, place):
      return True
  after = [*tokens[end + 1:end + 3], "", ""]
  return (after[0] in _IS and after[1] in _FALSE) or (
      after[0].removesuffix("n't") in _IS and after[0].endswith("n't"))


def _asked(tokens: Sequence[str], end: int) -> bool:
  mark = next((t for t in tokens[end + 1:] if t in (".", "!", "?", "\n")), "")
  return mark == "?"


def _open(tokens: Sequence[str], start: int, end: int) -> bool:
  """Whether [start, end] is one of several that are offered."""
  before = [t for t in reversed(tokens[max(0, start - 4):start])
            if t not in _SMALL_WORDS - {"to", "from"} | _ARTICLES]
  after = [t for t in tokens[end + 1:end + 5]
           if t not in _SMALL_WORDS - {"to", "from"} | _ARTICLES]
  before, after = [*before, "", ""], [*after, "", ""]
  if before[0] == "or" or after[0] == "or" and after[1] not in ("so", ""):
    return True
  if before[0] == "," and before[1] == "or" or after[:2] == [",", "or"]:
    return True
  like = _is_year if _is_year(tokens[end]) else _is_number
  if start != end or not like(tokens[end]):
    return before[0] == "between" or before[0] == "either"
  separators = (",", "/", "and", "to")
  return (before[0] in separators and like(before[1] or "-")
          or after[0] in separators and like(after[1] or "-"))


def _is_term(tokens: Sequence[str], end: int) -> bool:
  """Whether a number is part of a calculation and not its result."""
  if not _is_number(tokens[end]):
    return False
  after = tokens[end + 1] if end + 1 < len(tokens) else ""
  return after in tuple("+*×÷=^") or (after in ("-", "/")
                                      and "=" in tokens[end:])
