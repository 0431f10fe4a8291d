"""Planted personal data is what it says, by rules that others wrote."""

import ipaddress
import random
import re

import phonenumbers
import pytest

from llm_jax.data.crawl import sample_pii


def draws(make, number=400):
  rng = random.Random(0)
  return [make(rng) for _ in range(number)]


def luhn(digits):
  """ISO/IEC 7812-1, annex B, by its own wording: from the right, every second
  digit doubled, digits of the products added."""
  return sum(sum(map(int, str(int(digit) * (1 + place % 2))))
             for place, digit in enumerate(reversed(digits))) % 10 == 0


@pytest.mark.parametrize("language, regions", [
    ("en", ("US", "GB")), ("fr", ("FR",)), ("es", ("ES",))])
def test_phones_are_valid_where_the_language_is_spoken(language, regions):
  for number in draws(lambda rng: sample_pii.phone(rng, language)):
    assert any(phonenumbers.is_valid_number(phonenumbers.parse(number, region))
               for region in regions), number


def test_addresses_are_global():
  assert all(ipaddress.ip_address(address).is_global
             for address in draws(sample_pii.ip))


def test_cards_have_a_right_check_digit_and_look_alikes_a_wrong_one():
  assert luhn("4111111111111111") and not luhn("4111111111111112")
  for number in draws(sample_pii.card):
    digits = re.sub(r"\D", "", number)
    assert len(digits) in (15, 16) and luhn(digits)
  wrong = [re.search(r"reads ([\d -]+), which", line)
           for line in draws(sample_pii.look_alike)]
  numbers = [re.sub(r"\D", "", match[1]) for match in wrong if match]
  assert len(numbers) > 10 and not any(map(luhn, numbers))


def test_social_security_numbers_are_of_a_valid_form():
  for number in draws(sample_pii.ssn):
    area, group, serial = map(int, number.split("-"))
    assert 0 < area < 900 and area != 666 and group and serial


def test_look_alike_addresses_are_private():
  text = " ".join(draws(sample_pii.look_alike))
  found = re.findall(r"(?<![\d.])\d+\.\d+\.\d+\.\d+(?![\d.])", text)
  assert found and all(ipaddress.ip_address(a).is_private for a in found)


@pytest.mark.parametrize("language", ["en", "fr", "es"])
def test_sentences_hold_what_they_are_said_to(language):
  rng = random.Random(1)
  seen = set()
  for _ in range(200):
    sentence, item = sample_pii.planted(rng, language)
    assert sentence.count(item["value"]) == 1
    assert item["sentence"] == sentence and sentence.endswith(".")
    seen.add(item["class"])
  assert seen == set(sample_pii.CLASSES)
