"""The page and the figure of reinforcement learning, from made-up runs."""

import json
import pathlib
import shutil
import subprocess

import pytest

from llm_jax.config import ConfigError, ViewRolloutsConfig
from llm_jax.serving import rollouts_page
from llm_jax.serving.rl_run import load_run
from llm_jax.serving.rollouts_page import histogram, render_rl
from llm_jax.serving.seeds_figure import band
from parsed_page import parsed, words

HOSTILE = "</script><img src=x onerror=alert(1)><!-- wait, let me check"


def write_run(path, gain=0.1, steps=6):
  path.mkdir()
  def lines(name, records):
    (path / name).write_text("".join(json.dumps(r) + "\n" for r in records))
  (path / "config.json").write_text(json.dumps(
      {"num_steps": steps, "batch_size": 4, "group_size": 2,
       "init_from": "runs/<sft>"}))
  lines("metrics.jsonl", [
      {"step": s, "eval_accuracy": 0.2 + gain * s, "eval_pass_at_4": 0.5}
      for s in range(0, steps + 1, 3)] + [
          {"step": s, "reward": gain * s, "correct": 0.1 * s, "entropy": 1.0,
           "completion_tokens": 10.0 + s, "zero_variance": 0.25,
           "truncated": 0.0} for s in range(1, steps + 1)])
  lines("rewards.jsonl", [
      {"step": s, "rewards": [0.0, 1.0, 1.0, float(s > 3)],
       "correct": [0, 1, 1, 0], "tokens": [3, 4, 5, 6]}
      for s in range(1, steps + 1)])
  lines("rollouts.jsonl", [
      {"step": s, "prompt": "What?", "text": f"{HOSTILE} {s}", "reward": s / 10,
       "correct": float(s % 2), "tokens": 20 - s, "stopped": s != 2,
       "parts": {"correct": s / 10}, "source": "sums"}
      for s in range(1, steps + 1)] + [
          {"step": 1, "prompt": "Play", "text": "7", "reward": 0.0,
           "correct": 0.0, "tokens": 4, "stopped": True, "messages": [
               {"role": "assistant", "content": "5"},
               {"role": "user", "content": "Too low."},
               {"role": "assistant", "content": "7"}]}])
  lines("samples.jsonl", [
      {"step": 0, "eval": 0, "prompt": "Held?", "text": "no", "answer": "1",
       "correct": 0.0}, {"step": 0, "sample": "a base model's"}])
  return path


@pytest.fixture
def workdir(tmp_path):
  return write_run(tmp_path / "grpo")


def samples_of(page):
  text = page.split('<script type="application/json" id="samples">')[1]
  return json.loads(text.split("</script>")[0])["samples"]


def test_the_page_tells_what_happened(workdir):
  page = render_rl(load_run(workdir))
  text = words(page)
  assert "20.0% at step 0, 80.0% at step 6" in text and "runs/<sft>" in text
  for title in ("Solved", "Length of a completion", "Entropy of the sampler",
                "alike in reward", "How rewards were spread", "pass at 4"):
    assert title in text, title
  assert "KL to the first model" not in text  # which this run has not
  found = samples_of(page)
  assert len(found) == 8 and found[-1]["set"] == "held out"
  assert found[6]["text"] == "[assistant] 5\n[user] Too low.\n[assistant] 7"
  assert [s["stopped"] for s in found[:3]] == [True, False, True]


def test_what_a_model_wrote_is_no_markup(workdir):
  page = render_rl(load_run(workdir))
  tags = parsed(page)
  assert "img" not in tags.seen
  assert page.count("</script>") == 2  # the data's and the code's
  assert samples_of(page)[0]["text"] == f"{HOSTILE} 1"


def test_of_many_samples_some(workdir, monkeypatch):
  monkeypatch.setattr(rollouts_page, "_MOST_SAMPLES", 3)
  monkeypatch.setattr(rollouts_page, "_CHARACTERS", 10)
  found = samples_of(render_rl(load_run(workdir)))
  assert len(found) == 4 and found[0]["step"] == 1
  assert found[0]["text"] == HOSTILE[:10] + " …"


def test_histogram():
  told = histogram([{"step": 1, "rewards": [0.0, 0.0, 0.0, 1.0]},
                    {"step": 2, "rewards": [1.0, 1.0, float("nan")]}])
  rows = told.split("<tr>")[1:]
  assert len(rows) == 9
  assert "25%" in rows[0] and "100%" in rows[0]  # the largest rewards
  assert "75%" in rows[-1] and " 0%" in rows[-1]
  assert "No rewards" in histogram([{"step": 1, "rewards": [float("nan")]}])
  assert histogram([{"step": 1, "rewards": [1.0, 1.0]}]).count("<tr>") == 1


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_the_browser_sorts_and_finds(workdir, tmp_path):
  script = pathlib.Path(rollouts_page.__file__).parent / "rollouts_page.js"
  (tmp_path / "s.json").write_text(json.dumps(
      samples_of(render_rl(load_run(workdir)))))
  program = tmp_path / "run.js"
  program.write_text(f"""
const {{select}} = require({json.dumps(str(script))});
const samples = require({json.dumps(str(tmp_path / "s.json"))});
const wanted = {{words: "", set: "", verdict: "", from: "", to: "",
                sort: "step", down: true}};
const of = (changes, name) => select(samples, {{...wanted, ...changes}})
    .map((s) => s[name]);
console.log(JSON.stringify([
  of({{}}, "step"),
  of({{sort: "tokens", down: false, set: "training"}}, "tokens"),
  of({{words: "LET ME check 3"}}, "step"), of({{verdict: "1"}}, "step"),
  of({{from: "2", to: "3", down: false}}, "step"),
  of({{sort: "reward"}}, "reward")]));
""")
  out = json.loads(subprocess.run(["node", program], capture_output=True,
                                  text=True, check=True).stdout)
  assert out[0] == [6, 5, 4, 3, 2, 1, 1, 0]
  assert out[1] == [4, 14, 15, 16, 17, 18, 19]
  assert out[2:5] == [[3], [5, 3, 1], [2, 3]]
  assert out[5] == [0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, None]


def test_bands():
  drawn = band([[(0, 1.0), (2, 3.0), (4, 9.0)], [(0, 2.0), (2, 1.0), (6, 0.0)]])
  assert drawn == {"step": [0, 2], "mean": [1.5, 2.0], "least": [1.0, 1.0],
                   "most": [2.0, 3.0]}
  assert band([])["step"] == [] == band([[(0, 1)], [(1, 1)]])["step"]


def test_the_experiment(tmp_path, workdir):
  from experiments import view_rollouts
  other = write_run(tmp_path / "again", gain=0.05)
  control = write_run(tmp_path / "control", gain=0.0)
  told = view_rollouts.run(ViewRolloutsConfig(workdirs=(str(workdir),)))
  assert told == {"html": str(workdir / "rollouts.html")}
  assert (workdir / "rollouts.html").read_text().endswith("</html>\n")
  told = view_rollouts.run(ViewRolloutsConfig(
      workdirs=(f"rl={workdir}", f"rl={other}", f"none={control}"),
      svg=str(tmp_path / "out" / "curves.svg"), levels=("base=0.2",)))
  data = json.loads(pathlib.Path(told["data"]).read_text())
  assert data["runs"] == {"rl": ["grpo", "again"], "none": ["control"]}
  assert data["panels"]["accuracy"]["rl"]["mean"] == pytest.approx(
      [0.2, 0.425, 0.65])
  assert "<svg" in pathlib.Path(told["svg"]).read_text()
  assert "html" not in told


@pytest.mark.parametrize("settings, message", [
    ({}, "workdirs is empty"), ({"workdirs": ("a", "b")}, "page is of one run"),
    ({"workdirs": ("a", "b"), "svg": "x.svg", "html": "y"}, "html is of one"),
    ({"workdirs": ("a",), "levels": ("x",)}, "NAME=VALUE"),
    ({"workdirs": ("a",), "metrics": ()}, "metrics is empty")])
def test_mistakes(settings, message):
  with pytest.raises(ConfigError, match=message):
    ViewRolloutsConfig(**settings).validate()


def test_other_directories_are_told(tmp_path, workdir):
  from experiments import view_rollouts
  with pytest.raises(ConfigError, match="no config.json"):
    load_run(tmp_path)
  (workdir / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
  with pytest.raises(ConfigError, match="no run of reinforcement"):
    load_run(workdir)
  fresh = write_run(tmp_path / "fresh")
  with pytest.raises(ConfigError, match="all have nothing"):
    view_rollouts.run(ViewRolloutsConfig(
        workdirs=(str(fresh),), svg=str(tmp_path / "x.svg"),
        metrics=("nothing",)))
