"""The page of the recipe, from made-up runs."""

from llm_jax.serving.r1_page import checking_share, render_r1
from llm_jax.serving.rl_run import load_run
from parsed_page import parsed, words
from test_rollouts_page import HOSTILE, write_run


def report():
  stage = {"problems": 8.0, "accuracy_low": 0.1, "accuracy_high": 0.9,
           "truncated": 0.0}
  change = {f"{name}{suffix}": 0.25 for name in ("accuracy", "tokens")
            for suffix in ("", "_low", "_high")}
  return {
      "demonstrations": {"demonstrations": 1200, "styles": {}, "right": 0.8},
      "kept": {"kept": 20, "samples": 64, "problems": 16,
               "problems_with_one": 12},
      "rewards": ["correct:1", "think_format:0.1"],
      "stages": [
          {"stage": "finetuned on the cold start", "accuracy": 0.5,
           "tokens": 21.5, **stage},
          {"stage": "rewarded again", "accuracy": 0.875, "tokens": 33.0,
           **stage},
          {"stage": "control: rewards by lot", "accuracy": 0.5, "tokens": 21.0,
           **stage}],
      "changes": {"rl": change, "control": change},
      "examples": [{"prompt": HOSTILE, "answer": "1", "said": [
          {"stage": "cold start", "text": HOSTILE, "right": True}]}]}


def test_the_page_tells_of_each_stage(tmp_path):
  runs = {"rl": load_run(write_run(tmp_path / "rl")),
          "control": load_run(write_run(tmp_path / "control", gain=0.0))}
  page = render_r1(report(), runs)
  text = words(page)
  for told in ("1,200 demonstrations, of which 80.0% are right",
               "solved 50.0% of 8 held-out problems in 21.5 tokens",
               "87.5% in 33.0 tokens", "87.5% [10.0, 90.0]",
               "20 of 64 answers", "12 of 16 problems",
               "+25.0 points", "+0.2 tokens", "Length of an answer",
               "Entropy of the sampler", "How rewards were spread"):
    assert told in text, told
  assert "KL to the model" not in text  # which these runs have not
  assert 'href="rl/rollouts.html"' in page
  tags = parsed(page)
  assert "img" not in tags.seen and "script" not in tags.seen


def test_the_share_that_checks_itself(tmp_path):
  run = load_run(write_run(tmp_path / "rl", steps=2))
  run.rollouts[:] = [
      {"step": 1, "text": "0? Wait, let me check: 1"}, {"step": 1, "text": "1"},
      {"step": 2, "text": "wait"}]
  assert checking_share(run) == [(1, 0.5), (2, 0.0)]
