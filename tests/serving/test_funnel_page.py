"""The funnel's page: whole, escaped, and with all of its numbers."""

import copy
import re

from parsed_page import parsed, stage, words

from llm_jax.serving.funnel_page import funnel_section, render_funnel

NASTY = "<script>alert('x')</script><img src=x onerror=y> & \x07\u202e \"q\""


def made_up():
  """A funnel of the right form; the numbers are nobody's."""
  return copy.deepcopy({
      "stages": [
          stage("read", 0, 20_123, 0, 412_300_000,
                counts={"corrupt_gzip": 41, "truncated": 3}),
          stage("extract", 20_123, 17_017, 412_300_000, 31_500_000,
                reasons={"empty": [3_101, 9_100_000], "timeout": [5, 700_000]},
                counts={"slow": 17}, lengths={"7": 41, "8": 300, "11": 16_676},
                examples=[{"kind": "removed", "reason": "empty",
                           "url": "https://evil.example/" + NASTY,
                           "text": NASTY}]),
          stage("language", 17_017, 11_011, 31_500_000, 22_600_000,
                reasons={"other_language": [4_004, 5_500_000],
                         NASTY: [2_002, 3_400_000]},
                languages_gone={"fr": [4_321, 5_600_000],
                                "en": [1_685, 3_300_000]},
                languages={"en": [11_011, 22_600_000]}),
          stage("pii", 11_011, 11_011, 22_600_000, 22_590_000,
                counts={"email": 321, "phone": 123},
                languages={"en": [11_011, 22_590_000]},
                lengths={"8": 11, "11": 11_000},
                examples=[{"kind": "changed", "reason": "",
                           "url": "http://ok.example/", "text": "to <x> now"}])
      ],
      "faults": [{"reason": "corrupt_gzip", "file": "a/" + NASTY,
                  "offset": 1_234_567, "detail": NASTY}],
      "run": {"python": "3.11.7", "packages": {"datatrove": "0.10.1"},
              "settings": {"seed": 0, "curate": {
                  "languages": ["en"],
                  "extract": {"extractor": "trafilatura", "timeout_s": 5.5}}}},
      "seconds": {"read": 12.5, "extract": 200.0, "language": 8.0, "pii": 0.0}})


def check_harmless(page):
  tags = parsed(page)
  assert not {"script", "link", "img", "iframe", "object", "a", "base",
              "form"} & set(tags.seen)
  names = {name for name, _ in tags.attributes}
  assert not {"src", "href", "srcset", "action", "data"} & names
  assert not any(name.startswith("on") for name in names)
  assert not re.search(r"url\(|@import", page)
  assert "\x07" not in page and "\u202e" not in page


def test_the_page_is_whole_and_hostile_text_does_nothing():
  page = render_funnel(made_up())
  check_harmless(page)
  assert page.startswith("<!doctype html>")
  # Text, address, reason (thrice), file and detail.
  assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)") >= 5
  tags = parsed(page)
  assert tags.seen.count("section") == 6
  # Addresses stand in text alone.
  assert "https://evil.example/" in "".join(tags.text)


def test_a_hostile_setting_or_stage_does_nothing():
  funnel = made_up()
  funnel["stages"].insert(1, stage(NASTY, 20_123, 20_123, 412_300_000,
                                   412_300_000, counts={NASTY: 1}))
  funnel["run"]["packages"] = {NASTY: NASTY}
  for page in (render_funnel(funnel), funnel_section(funnel)):
    check_harmless(page)
    assert "&lt;script&gt;" in page  # it is there, as text


def test_the_numbers_are_those_of_the_funnel():
  text = words(render_funnel(made_up()))
  for told in (
      "20,123", "17,017", "11,011", "412.3", "31.5", "22.6",
      "54.7% of the pages", "84.6%",  # 11011/20123 and 17017/20123
      "91 pages per second",  # 20123 / 220.5
      "220.5", "12.5", "empty 3,101", "timeout 5", "99.8%",
      "17 pages were slow", "5 were given up for time",
      "41 corrupt_gzip", "1,234,567", "email 321", "phone 123",
      "other_language 4,004", "en 11,011", "fr 4,321 71.9% 5.6",
      "(removed 3,106 of 20,123)",
      "timeout_s 5.5", "packages.datatrove 0.10.1"):
    assert told in text, told
  assert "to <x> now" in text


def test_the_time_between_the_stages_is_told():
  funnel = made_up()
  assert "search for copies" not in render_funnel(funnel)
  funnel["phase_seconds"] = {"filter-a": 230.5, "pairs-a": 20.0}
  text = words(render_funnel(funnel))
  assert "and 30.0 seconds for reading and writing" in text
  assert "4m10s 80 pages per second" in text and "pairs-a 20.0" in text


def test_other_numbers_make_another_page():
  other = made_up()
  other["stages"][-1]["documents_out"] = 5_005
  assert "24.9% of the pages" in words(render_funnel(other))


def test_bars_are_in_proportion():
  page = render_funnel(made_up())
  assert [float(width) for width in re.findall(
      r'<i style="width:([\d.]+)%">', page)][:4] == [
          100.0, 84.6, 54.7, 54.7]


def test_the_histogram_has_what_was_and_what_is_left():
  page = render_funnel(made_up())
  bar = r'<i style="width:([\d.]+)%"></i>'
  rows = re.findall(
      r'<span>([\d,]+ to [\d,]+)</span><span class="track both">' + bar + bar
      + r'</span><span class="value">([\d,]+ of [\d,]+)<', page)
  assert rows == [
      ("128 to 255", "0.2", "0.0", "0 of 41"),
      ("256 to 511", "1.8", "0.1", "11 of 300"),
      ("512 to 1,023", "0.0", "0.0", "0 of 0"),
      ("1,024 to 2,047", "0.0", "0.0", "0 of 0"),
      ("2,048 to 4,095", "100.0", "66.0", "11,000 of 16,676")]


def test_the_short_form_stands_in_another_page():
  part = funnel_section(made_up())
  check_harmless(part)
  text = words(part)
  assert "Of 20,123 pages (412.3 MB of HTML) 11,011 became" in text
  assert "54.7%" in text and "extract: empty" in text
  assert "<main" not in part and "<section" not in part
  # What a page of someone's was called is not needed there.
  assert "evil.example" not in part


def test_of_blocked_pages_the_short_form_shows_the_address():
  funnel = made_up()
  funnel["stages"].insert(1, stage(
      "url", 20_123, 20_122, 412_300_000, 412_300_000,
      reasons={"domain": [1, 5]}, examples=[
          {"kind": "removed", "reason": "domain", "text": "<html>",
           "url": "http://spam.example/1"}]))
  part = funnel_section(funnel)
  assert "url: domain spam.example/1" in words(part)
  assert "&lt;html&gt;" not in part


def test_a_run_over_plain_text_without_most_stages():
  funnel = {"stages": [stage("read", 0, 2, 0, 10, lengths={"2": 2})],
            "faults": [], "run": {}, "seconds": {"read": 0.0}}
  text = words(render_funnel(funnel))
  assert "No record of the input was broken" in text
  assert "This stage was not run" in text
  assert "No language was asked for" in text
  assert "of HTML)" not in words(funnel_section(funnel))


def test_nothing_read_is_told_too():
  funnel = {"stages": [stage("read", 0, 0, 0, 0)], "faults": [], "run": {},
            "seconds": {"read": 0.0}}
  assert "Pages read 0" in words(render_funnel(funnel))
