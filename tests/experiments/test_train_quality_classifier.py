"""A classifier learnt from labelled documents, and used as curate does."""

import json

import numpy as np
import pytest
from datatrove.data import Document

from experiments import train_quality_classifier
from llm_jax.config_crawl import ClassifierConfig
from llm_jax.data.crawl.classifier import QualityFilter
from llm_jax.data.wikipedia import load_articles
from llm_jax.evals.binary_scores import auc
from tiny_runs import write_jsonl


def junk(rng, text, kind):
  """Three kinds of text that nobody wants to learn from."""
  words = text.split()
  if kind == 0:
    rng.shuffle(words)
    return " ".join(words)
  if kind == 1:
    return "\n".join(" ".join(rng.choice(words, rng.integers(1, 4)))
                     for _ in range(30))
  return " ".join(f"Buy {rng.choice(words)} now! Best price for "
                  f"{rng.choice(words)}, click here." for _ in range(8))


@pytest.fixture(scope="module")
def texts():
  """{"good": introductions of articles, "bad": junk}; none made of another."""
  rng = np.random.default_rng(0)
  articles = load_articles()
  chosen = [articles[i].extract for i in rng.permutation(len(articles))[:900]]
  return {"good": chosen[:450],
          "bad": [junk(rng, text, i % 3)
                  for i, text in enumerate(chosen[450:])]}


@pytest.mark.slow
def test_articles_are_told_from_junk(texts, command, tmp_path):
  write_jsonl(tmp_path / "labels.jsonl", [
      {"text": text, "label": label}
      for kind, label in (("good", 1), ("bad", 0))
      for text in texts[kind][:300]])
  flags = (f"--data={tmp_path}/labels.jsonl", f"--output={tmp_path}/model",
           "--epochs=12")
  code, out, err = command(train_quality_classifier, *flags)
  assert code == 0, err
  results = json.loads((tmp_path / "model" / "results.json").read_text())
  assert results["auc"] > 0.95 and f"AUC {results['auc']:.4f}" in out
  assert results["train_documents"] + results["held_out_documents"] == 600
  assert sum(b["items"] for b in results["calibration"]) == results[
      "held_out_documents"]
  assert "epoch 12/12" in out and "ETA" in out
  config = json.loads((tmp_path / "model" / "config.json").read_text())
  assert config["epochs"] == 12 and config["buckets"] == 65_536

  # Documents that the training never saw, by the stage of a crawl.
  step = QualityFilter(ClassifierConfig(
      enabled=True, model=str(tmp_path / "model"), threshold=0.5))
  fresh = {kind: [Document(text, "") for text in texts[kind][300:]]
           for kind in ("good", "bad")}
  kept = {kind: np.mean([step.filter(document) is True for document in chosen])
          for kind, chosen in fresh.items()}
  assert kept["good"] > 0.9 and kept["bad"] < 0.3
  scores, good = zip(*((document.metadata["quality_score"], kind == "good")
                       for kind, chosen in fresh.items()
                       for document in chosen))
  assert auc(np.array(scores), np.array(good)) > 0.95

  # Nothing is drawn but by the seed.
  first = (tmp_path / "model" / "model.npz").read_bytes()
  assert command(train_quality_classifier, *flags)[0] == 0
  assert (tmp_path / "model" / "model.npz").read_bytes() == first


def test_mistakes_are_told_before_anything_is_learnt(command, tmp_path):
  code, _, err = command(train_quality_classifier)
  assert code and "data is empty" in err
  write_jsonl(tmp_path / "a.jsonl", [{"text": f"t {i}", "label": 3}
                                     for i in range(9)])
  code, _, err = command(train_quality_classifier,
                         f"--data={tmp_path}/a.jsonl",
                         f"--output={tmp_path}/model")
  assert code and "divide grades" in err and "Traceback" not in err
  assert not (tmp_path / "model").exists()
