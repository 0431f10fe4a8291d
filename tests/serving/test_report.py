"""The report: one page, whole, escaped, and saying what the numbers say."""

import copy
import re

import pytest

from parsed_page import parsed, stage, words

from llm_jax.serving.report import render_report

NASTY = "<script>alert('x')</script> & \x07\u202e \"q\"\nsecond line"


def made_up():
  """A report of the right form; the numbers are nobody's."""
  return copy.deepcopy({
      "seconds": {"setup": 80.0, "tokenizer": 4.5, "corpus": 2.0,
                  "pretrain": 200.0, "sft": 130.0, "sft_continued": 60.0,
                  "rl": 150.0, "total": 546.5},
      "funnel": {"stages": [
          stage("read", 0, 8_123, 0, 52_400_000),
          stage("gopher_quality", 8_123, 4_567, 52_400_000, 6_500_000,
                reasons={"gopher_short_doc": [3_556, 45_900_000]},
                examples=[{"kind": "removed", "reason": "gopher_short_doc",
                           "url": "http://a.example/", "text": NASTY}])],
          "seconds": {"filter": 50.0}},
      "tokenizer": {"vocab_size": 4096, "bytes_per_token": 3.625},
      "pretrain": {
          "parameters": 1_376_512, "tokens": 2_785_280,
          "val_bits_per_byte_start": 3.301, "val_bits_per_byte_end": 2.222,
          "gzip_bits_per_byte": 3.191, "xz_bits_per_byte": 2.904,
          "curve": [[1, 8.3], [20, 6.5], [40, 5.9]],
          "val_curve": [[0, 3.301], [40, 2.222]]},
      "sft": {"val_loss_start": 5.151, "val_loss_end": 1.313, "steps": 222,
              "plateau": True, "curve": [[1, 5.0], [222, 1.2]],
              "val_curves": {"sums": [[0, 4.0], [222, 0.7]],
                             "identity": [[0, 5.0], [222, 0.1]]}},
      "sft_continued": {"steps": 77, "accuracy": 0.4375, "flops": 4.2e12},
      "rl": {"eval_problems": 1024, "accuracy_before": 0.40625,
             "accuracy_after": 0.8125, "gain": 0.40625, "gain_low": 0.37,
             "gain_high": 0.44, "accuracy_sft_continued": 0.4375,
             "flops": 4.0e12, "reward_curve": [[1, 0.4], [2, 0.6]],
             "eval_curve": [[0, 0.40625], [40, 0.8125]],
             "length_curve": [[1, 14.5], [2, 30.25]]},
      "training_samples": [
          {"step": 0, "prompt": "", "text": "noise"},
          {"step": 0, "prompt": "Paris is", "text": NASTY},
          {"step": 40, "prompt": "", "text": "The first"},
          {"step": 40, "prompt": "Paris is", "text": " a city"}],
      "samples": [{"prompt": "who are you?", "base": NASTY, "sft": "I am S.",
                   "rl": "I am R."}],
      "rl_examples": [
          {"prompt": "What is 2+3?", "answer": "5", "before": "#### 6",
           "after": "2+3=5\n#### 5", "correct_before": False,
           "correct_after": True}],
      "parameter_table": [["embed.tokens", [4096, 128], 524_288],
                          ["final_norm.scale", [128], 128]],
      "versions": {"python": "3.11.2", "command": ["secret"],
                   "packages": {"jax": "0.10.2"},
                   "devices": {"kind": "cpu", "list": ["TFRT_CPU_0"]}}})


def test_the_page_is_whole_and_needs_nothing_else():
  page = render_report(made_up(), conversation="<div>MASK</div>")
  tags = parsed(page)
  assert page.startswith("<!doctype html>") and "<div>MASK</div>" in page
  assert tags.seen.count("svg") == 7 and tags.seen.count("section") == 7
  assert not {"script", "link", "img", "iframe", "object"} & set(tags.seen)
  assert not {"src", "href", "onclick"} & {name for name, _ in tags.attributes}
  assert not re.search(r"https?:|url\(|@import", page)
  assert "prefers-color-scheme: dark" in page and "viewport" in page


def test_what_models_wrote_is_escaped_and_harmless():
  page = render_report(made_up())
  assert "<script" not in page
  assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;") == 3
  assert "\x07" not in page and "\u202e" not in page
  assert "\\x07\\u202e" in page and "\nsecond line" in page


def test_lone_surrogates_do_no_harm():
  report = made_up()
  report["samples"][0]["rl"] = "half \ud800 a pair"
  assert b"a pair" in render_report(report).encode("utf-8")


def test_the_numbers_are_those_of_the_report():
  text = words(render_report(made_up()))
  for told in ("3.30 → 2.22", "40.6% → 81.2%", "1.4M parameters",
               "2.8M tokens", "9m06s of work", "3.62 bytes",
               "gain of 40.6 points, 95% interval 37.0 to 44.0",
               "for 77 steps", "1.05 times", "43.8%", "4,096 × 128",
               "524,416", "packages.jax", "1,024 problems"):
    assert told in text, told
  assert "secret" not in text and "TFRT" not in text
  other = made_up()
  other["rl"] |= {"accuracy_after": 0.59375}
  assert "59.4%" not in text
  assert "59.4%" in words(render_report(other))


def test_the_control_is_told_whichever_way_it_came_out():
  report = made_up()
  assert "37.5 points above it" in words(render_report(report))
  report["sft_continued"]["accuracy"] = 0.875
  text = words(render_report(report))
  assert "the gain is not its own" in text and "points above" not in text
  report["rl"]["gain_low"] = -0.01
  text = words(render_report(report))
  assert "cannot be told from none" in text and "points above" not in text


def test_plateau_or_limit():
  report = made_up()
  assert "had stopped falling" in words(render_report(report))
  report["sft"]["plateau"] = False
  text = words(render_report(report))
  assert "limit of 222 steps" in text and "had stopped falling" not in text


def test_samples_are_grouped_by_prompt_and_marked():
  page = render_report(made_up())
  text = words(page)
  assert text.index("noise") < text.index("The first") < text.index("a city")
  assert text.index("✗ wrong") < text.index("✓ right")


@pytest.mark.parametrize("part, name", [
    ("pretrain", "curve"), ("rl", "length_curve"), ("sft", "val_curves")])
def test_a_curve_may_be_empty(part, name):
  report = made_up()
  report[part][name] = type(report[part][name])()
  assert "No values." in render_report(report)


def test_the_setup_may_be_unknown():
  report = made_up()
  assert "Setting up" in render_report(report)
  del report["seconds"]["setup"]
  assert "Setting up" not in render_report(report)
