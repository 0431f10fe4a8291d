"""Personal data: found, replaced by a word that says what stood there, counted.

Addresses of mail and of machines are found with datatrove's expressions (what
FineWeb removes), telephone numbers with Google's rules of each country
(`phonenumbers`), payment cards by their prefix and check digit, social security
numbers of the United States by their ranges. What was found is written nowhere.

A number is taken for a telephone number if it has a country's prefix (+33 ...)
and is valid there, or if it is written as one: groups apart, of a length that
is valid in one of `phone_regions`. Years, ranges, ISBNs and coordinates are
not.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator

import phonenumbers
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.formatters.pii import PIIFormatter
from phonenumbers import Leniency, PhoneMetadata, PhoneNumberMatcher

from llm_jax.config_crawl import PiiConfig

EMAIL, IP, PHONE, CARD, SSN = (
    "[EMAIL]", "[IP]", "[PHONE]", "[CARD]", "[SSN]")
MARKS = (EMAIL, IP, PHONE, CARD, SSN)

_DATATROVE = PIIFormatter()
_EMAIL = _DATATROVE.emails_replacer.regex
_AT = re.compile(r"(?<=[\w!#$%&'*+/=?^`{|}~-])@(?=[A-Za-z0-9\[])")
_MAX_EMAIL = 256  # characters on either side of the @ (RFC 5321)
# Whole numbers only: 1.2.3.4 is no address within 11.2.3.4.5.
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
# Four numbers with points may count versions or sections.
_COUNTED = re.compile(
    r"(?:\b(?:versi[oó]n|release|firmware|build|secti?[oó]n|chapter|chapitre|"
    r"cap[ií]tulo)|§)[ :.]{0,3}\Z", re.IGNORECASE)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}"
                   r"(?![\w:]|\.\d)")
_IPV6_GROUPS = 3  # 12:: is an address, too, but more often something else
# A card's digits, undivided or as they are printed: 4-4-4-4 (and 3 more), or
# 4-6-5 and 4-6-4; not four of a longer row of years or other such numbers.
# Among the numbers of tables, any groups would do for one row in ten.
_CARD = re.compile(
    r"(?<![\w.,/-])(?<!\d{4} )"
    r"(?:\d{14,19}|\d{4}([ -])(?:\d{4}\1\d{4}\1\d{4}(\1\d{3})?|\d{6}\1\d{4,5}))"
    r"(?![\w/]|[.,-]\d| \d{4}\b)")
# The area of an SSN is not 000, 666 or 9xx.
_SSN = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}"
                  r"(?![\w-])")
# Of the issuers that print numbers on cards: Visa, Mastercard, American
# Express, Discover, Diners Club, JCB, UnionPay, Maestro (ISO/IEC 7812).
_ISSUERS = re.compile(
    r"4(\d{15}|\d{18})|(5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|"
    r"27[01]\d|2720)\d{12}|3[47]\d{13}|(6011|65\d{2}|64[4-9]\d)\d{12}|"
    r"3(0[0-5]|[68]\d)\d{11}|35(2[89]|[3-8]\d)\d{12}|62\d{14,17}|"
    r"(50|5[6-9]|6\d)\d{14,17}")
# Where a telephone number may be: seven digits or more, with signs between.
_MAYBE_PHONE = re.compile(r"(?:\+|\(|\d)(?:[ ().\-/\u00a0\u2011]{0,3}\d){6,14}")
# What a national number among them looks like: where its country puts a zero
# before it, where it does not, and in North America. Tables have few of these.
_FROM_ZERO = re.compile(r"(?<!\d)0(?=(?:\D*\d){7})\d*\D+\d")
_FOUR_GROUPS = re.compile(r"(?<!\d)(?:\d+\D+){3}\d")
_AMERICAN = re.compile(r"\d{3}[-.]\d{3}[-.]\d{4}")
_AMERICA = ("US", "CA")
_DATE = re.compile(r"\b(?:(?:19|20)\d\d([-/.])\d\d\1\d\d|"
                   r"\d\d([-/.])\d\d\2(?:19|20)\d\d)\b")
# Words before a number that say that it is one.
_CUE = re.compile(r"(?:\b(?:t[eé]l[eé]?(?:phone|fono|efon|\.)?|phone|call|"
                  r"mobile|mob|cell|fax|text|ring|dial|appele[rz]|joindre|"
                  r"portable|m[oó]vil|llam\w*|anruf\w*|handy|whatsapp|contact\w*|"
                  r"number is|hotline|reach\w* (?:\w+ )?(?:at|on|under)|"
                  r"joignable|atiend\w*|n[°º])\b\.?[^.\d]{0,24})$",
                  re.IGNORECASE)


class PiiReplacer(PipelineStep):
  """Replaces personal data in documents; counts each kind."""

  type, name = "llm_jax", "pii"

  def __init__(self, config: PiiConfig):
    """Takes which kinds, and whose telephone numbers."""
    super().__init__()
    self._config = config

  def run(self, data: Iterator[Document], rank: int = 0,
          world_size: int = 1) -> Iterator[Document]:
    """All documents, without personal data."""
    del rank, world_size
    for document in data:
      document.text, counts = replace_pii(document.text, self._config)
      for kind, count in counts.items():
        self.stat_update(kind, value=count)
      yield document


def replace_pii(text: str, config: PiiConfig) -> tuple[str, dict[str, int]]:
  """The text with marks for personal data, and how many there are of each kind.

  Args:
    text: any text.
    config: which kinds.

  Returns:
    (text, {"email": 1, ...}); kinds that were not found are left out.
  """
  counts: dict[str, int] = {}

  def apply(kind: str, find: Callable[[str], list[tuple[int, int]]],
            mark: str) -> None:
    nonlocal text
    spans = find(text)
    if spans:
      counts[kind] = len(spans)
      text = _replaced(text, spans, mark)

  if config.email and "@" in text:
    apply("email", _emails, EMAIL)
  if config.ip:
    apply("ip", _ips, IP)
  if not any(map(str.isdigit, text)):
    return text, counts
  if config.card:
    apply("card", _cards, CARD)
  if config.ssn and "-" in text:
    apply("ssn", _ssns, SSN)
  if config.phone:
    apply("phone", lambda now: _phones(now, config.phone_regions), PHONE)
  return text, counts


def mask(text: str) -> str:
  """The text without any personal data, for examples that people look at."""
  return replace_pii(text, PiiConfig())[0]


def _replaced(text: str, spans: list[tuple[int, int]], mark: str) -> str:
  parts, last = [], 0
  for start, end in spans:
    parts += [text[last:start], mark]
    last = end
  return "".join(parts) + text[last:]


def _emails(text: str) -> list[tuple[int, int]]:
  """Spans of addresses, looked for around each @ only.

  Over a whole text the expression takes time that grows with the square of a
  word such as a-a-a-a...
  """
  spans: list[tuple[int, int]] = []
  for sign in _AT.finditer(text):
    place, last = sign.start(), spans[-1][1] if spans else 0
    # Neither part has another @ in it.
    low, high = max(place - _MAX_EMAIL, last), place + _MAX_EMAIL
    low = max(low, text.rfind("@", low, place) + 1)
    after = text.find("@", place + 1, high)
    spans += [match.span() for match in _EMAIL.finditer(
        text, low, after if after >= 0 else high)
              if match.start() < place < match.end()]
  return spans


def _ips(text: str) -> list[tuple[int, int]]:
  spans = []
  if "." in text:
    spans += [m.span() for m in _IPV4.finditer(text) if _is_public(m.group())
              and not _COUNTED.search(text, max(m.start() - 14, 0), m.start())]
  if ":" in text:
    spans += [m.span() for m in _IPV6.finditer(text)
              if len(m.group().replace(":", " ").split()) >= _IPV6_GROUPS
              and _is_public(m.group())]
  return sorted(spans)


def _is_public(address: str) -> bool:
  """Private, reserved and documentation addresses are nobody's."""
  try:
    return ipaddress.ip_address(address).is_global
  except ValueError:
    return False


def _cards(text: str) -> list[tuple[int, int]]:
  spans = []
  for match in _CARD.finditer(text):
    # Three digits behind the sixteenth are a card's, or beside it.
    ends = [match.end(), match.start(2)] if match[2] else [match.end()]
    for end in ends:
      digits = re.sub(r"\D", "", text[match.start():end])
      if _ISSUERS.fullmatch(digits) and _luhn(digits):
        spans.append((match.start(), end))
        break
  return spans


def _luhn(digits: str) -> bool:
  """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
  total = 0
  for place, digit in enumerate(map(int, reversed(digits))):
    doubled = 2 * digit if place % 2 else digit
    total += doubled - 9 if doubled > 9 else doubled
  return total % 10 == 0


def _ssns(text: str) -> list[tuple[int, int]]:
  return [match.span() for match in _SSN.finditer(text)]


def _phones(text: str, regions: tuple[str, ...]) -> list[tuple[int, int]]:
  """Spans of telephone numbers.

  Only what looks like one is given to `phonenumbers`, which takes a
  millisecond for each.
  """
  spans: list[tuple[int, int]] = []
  for maybe in _MAYBE_PHONE.finditer(text):
    start, end = maybe.span()
    if spans and start < spans[-1][1]:
      continue
    found = _phone_in(text, start, end, regions)
    if found:
      spans.append(found)
  return spans


def _phone_in(text: str, start: int, end: int,
              regions: tuple[str, ...]) -> tuple[int, int] | None:
  """The first valid number in text[start:end]."""
  if text[start] == "(" and ")" not in text[start:end]:
    start += 1  # a bracket around it, or around more than it
  cue = _CUE.search(text[max(start - 40, 0):start])
  for region in _regions(text[start:end], regions, bool(cue)):
    for match in PhoneNumberMatcher(text[start:end], region,
                                    leniency=Leniency.VALID, max_tries=3):
      span = start + match.start, start + match.end
      if _is_part(text, *span):
        continue
      if region is None or cue or _is_written_as_one(
          text[span[0]:span[1]], match.number, region):
        return span
  return None


def _regions(number: str, regions: tuple[str, ...],
             cue: bool) -> list[str | None]:
  """Those whose number it may be, None for any country's with its prefix."""
  world = [None] if "+" in number else []
  if cue or "(" in number:
    return [*world, *regions]
  number = _DATE.sub("", number)
  zero, american = _FROM_ZERO.search(number), _AMERICAN.search(number)
  # Where numbers have no zero before them; others cannot begin otherwise.
  free = zero or _FOUR_GROUPS.search(number)

  def may_be(region: str) -> bool:
    if region in _AMERICA:
      return bool(american)
    return bool(zero if _has_zero(region) else free)

  return [*world, *filter(may_be, regions)]


@functools.cache
def _has_zero(region: str) -> bool:
  """Whether a country's numbers have a zero before them at home."""
  rules = PhoneMetadata.metadata_for_region(region)
  return rules is not None and rules.national_prefix == "0"


def _is_part(text: str, start: int, end: int) -> bool:
  """Whether a digit, letter or decimal point goes on on either side."""
  before, after = text[max(start - 2, 0):start], text[end:end + 2]
  return bool(re.search(r"[\w$€£]\Z|\d[.,/–-]\Z|[/=#_]\Z", before)
              or re.match(r"\w|[.,/–-]\d|%", after))


def _is_written_as_one(number: str, parsed: phonenumbers.PhoneNumber,
                       region: str) -> bool:
  """Whether a national number has the groups that its country writes."""
  if region in _AMERICA:
    # 555-123-4567 or (555) 123-4567; three numbers apart may be anything.
    return bool(re.fullmatch(
        r"(1[-. ])?(\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}", number))
  groups = [len(group) for group in re.findall(r"\d+", number)]
  form = phonenumbers.PhoneNumberFormat.NATIONAL
  if number.startswith("00"):  # what is dialled for the +
    groups[0] -= 2
    form = phonenumbers.PhoneNumberFormat.INTERNATIONAL
  usual = phonenumbers.format_number(parsed, form)
  if [len(group) for group in re.findall(r"\d+", usual)] != groups:
    return False
  # Groups without a zero may be a large number with spaces for its thousands;
  # two groups are a number if they are long enough for one.
  if number.startswith("0"):
    return len(groups) > 2 or len(groups) == 2 and sum(groups) >= 10
  return len(groups) > 2 and ("(" in number or len(groups) > 3)
