"""Numbers of cards and telephones, among other numbers."""

import random

import phonenumbers
import pytest

from llm_jax.config_crawl import PiiConfig
from llm_jax.data.crawl import pii

ALL = PiiConfig()
ROWS = 400


@pytest.mark.parametrize("separator", [" ", "-", "\t", ", "])
@pytest.mark.parametrize("low, high, form", [
    (0, 1000, "d"), (10, 100, "d"), (100, 1000, "d"), (0, 10**4, "d"),
    (0, 10**6, "d"), (0, 100, "02d"), (0, 10**4, "04d"), (1900, 2030, "d")])
def test_tables_of_numbers(low, high, form, separator):
  """Nine numbers in a row are no card and no telephone: in 400 such rows."""
  rng = random.Random(f"{low} {high} {form}")
  text = "\n".join(separator.join(
      format(rng.randrange(low, high), form) for _ in range(9))
                   for _ in range(ROWS))
  counts = pii.replace_pii(text, ALL)[1]
  assert sum(counts.values()) <= ROWS / 100, counts


@pytest.mark.parametrize("text, shown", [
    ("4111 1111 1111 1111 12/27", "[CARD] 12/27"),
    ("4111 1111 1111 1111 123", "[CARD] 123"),
    ("No. 12 4111-1111-1111-1111.", "No. 12 [CARD]."),
    ("4111 1111 1111 1111\n5555 5555 5555 4444", "[CARD]\n[CARD]"),
    ("3782 822463 10005", "[CARD]"), ("3056 930902 5904", "[CARD]"),
    ("6304 0000 0000 0000 000", "[CARD]"),
    # Other groups, mixed signs, rows of years, the 13 digits of a barcode.
    ("41 11 11 11 11 11 11 11", None), ("4111 1111-1111 1111", None),
    ("4111 1111 1111 1111 1990", None), ("1990 4111 1111 1111 1111", None),
    ("4006381333931", None), ("4222222222222", None)])
def test_cards_are_written_as_they_are_printed(text, shown):
  assert pii.replace_pii(text, ALL)[0] == (shown or text)


@pytest.mark.parametrize("text, counts", [
    ("version 1.2.3.4", {}), ("Version: 11.2.3.4", {}), ("§ 3.2.1.4", {}),
    ("see section 4.3.2.1.", {}), ("release 2.6.32.5", {}),
    ("IP 8.8.8.8", {"ip": 1}), ("8.8.4.4 is up", {"ip": 1}),
    ("a conversion 8.8.8.8", {"ip": 1}),
    ("version 2 at 8.8.8.8", {"ip": 1})])
def test_versions_and_sections(text, counts):
  assert pii.replace_pii(text, ALL)[1] == counts


@pytest.mark.parametrize("region, share", [
    ("US", 0.98), ("GB", 0.98), ("FR", 0.98), ("ES", 0.98)])
def test_national_numbers_without_a_word_before_them(region, share):
  """Land lines and mobiles, as the country writes them."""
  rng, total, found = random.Random(region), 0, 0
  kinds = phonenumbers.PhoneNumberType
  while total < 200:
    like = str(phonenumbers.example_number_for_type(
        region, rng.choice((kinds.FIXED_LINE, kinds.MOBILE))).national_number)
    number = phonenumbers.PhoneNumber(
        country_code=phonenumbers.country_code_for_region(region),
        national_number=int(like[:2] + "".join(
            rng.choices("0123456789", k=len(like) - 2))))
    if not phonenumbers.is_valid_number(number):
      continue
    written = phonenumbers.format_number(
        number, phonenumbers.PhoneNumberFormat.NATIONAL)
    total += 1
    found += pii.replace_pii(f"Our office {written} is open.", ALL)[0] == (
        "Our office [PHONE] is open.")
  assert found >= share * total


@pytest.mark.parametrize("number", [
    "1-415-555-2671", "1 (415) 555-2671", "07911 123456", "030 12345678",
    "0171 1234567", "0033 1 42 68 53 00", "0049 30 901820"])
def test_more_ways_to_write_them(number):
  assert pii.replace_pii(f"Here: {number}, it says.", ALL)[0] == (
      "Here: [PHONE], it says.")


@pytest.mark.parametrize("text", [
    "03 12345", "0.5 1234 5678", "on 05.06.2021 12345678", "00 11 22 33",
    "2021-03-14 12:30", "12.05.1999 13.06.2000", "05-06 07-08",
    "885440 403958 794", "5000000 1 2 3"])
def test_dates_and_measures(text):
  assert pii.replace_pii(text, ALL) == (text, {})


def test_what_is_left_out_of_the_search_is_no_number():
  """The same as every region tried on every candidate."""
  rng = random.Random(0)
  pieces = ("0", "1", "2", "5", "07", "415", "2021", "912", " ", " ", "-", ".",
            "(", ")", "+", " 0", "34 56")
  few = many = 0
  for _ in range(1500):
    text = "".join(rng.choices(pieces, k=rng.randrange(6, 24)))
    spans = pii._phones(text, ALL.phone_regions)
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(pii, "_regions",
                    lambda number, regions, cue: [None, *regions])
      assert pii._phones(text, ALL.phone_regions) == spans, text
    few, many = few + bool(spans), many + 1
  assert 0 < few < many
