"""A sweep of tiny models: planned, trained, stopped, fitted and drawn."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import pretrain, scaling_laws
from llm_jax.config import (
    CheckpointConfig, ConfigError, LoggingConfig, ModelConfig,
    PretrainConfig, PretrainDataConfig, ScalingLawsConfig, TokenizerConfig)
from llm_jax.data.mixture import open_sources
from llm_jax.flops import flops_per_token
from llm_jax.model.params import count_params
from llm_jax.tokenizer.bpe import train_bpe
from tiny_runs import words, write_jsonl

SIZES = {"depths": (1, 1, 2, 2), "widths": (8, 16, 16, 24)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  directory = tmp_path_factory.mktemp("laws")
  rng = np.random.default_rng(0)
  write_jsonl(directory / "corpus.jsonl",
              [{"text": words(rng, 60)} for _ in range(80)])
  train_bpe([words(rng, 2000)], TokenizerConfig(vocab_size=290)).save(
      directory / "tokenizer")
  return directory


def config(data, **changes):
  return ScalingLawsConfig(**dict(
      workdir=str(data / "sweep"), budgets=(1e8, 2e8), min_steps=1,
      max_epochs=50.0, base_dim=16, bootstraps=20, recipe=PretrainConfig(
          data=PretrainDataConfig(
              path=str(data / "corpus.jsonl"), validation_fraction=0.1,
              tokenizer=str(data / "tokenizer")),
          model=ModelConfig(head_dim=8, num_heads=2, num_kv_heads=2,
                            max_seq_len=16),
          batch_size=8, seq_len=16, eval_every=0, sample_tokens=0,
          checkpoint=CheckpointConfig(every=1000),
          logging=LoggingConfig(tensorboard=False)), **SIZES) | changes)


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was_stopped(data, capsys, monkeypatch):
  trained, real = [], pretrain.run

  def run(cell):
    trained.append(cell.workdir)
    if len(trained) == 4:
      raise KeyboardInterrupt
    return real(cell)
  monkeypatch.setattr(pretrain, "run", run)
  sweep = config(data, output=str(data / "figure"))
  with pytest.raises(KeyboardInterrupt):
    scaling_laws.run(sweep)
  report = scaling_laws.run(sweep)
  assert len(trained) == len(set(trained)) + 1 == 9  # the fourth, twice
  assert "ETA" in capsys.readouterr().out
  assert len(report["runs"]) == 8 and not report["left_out"]
  for record in report["runs"]:
    assert 1 < record["bits_per_byte"] < 9
    assert record["flops"] == pytest.approx(record["budget"], rel=0.2)
  written = json.loads((data / "figure.json").read_text(),
                       parse_constant=pytest.fail)
  assert written == json.loads(json.dumps(report))
  assert len(written["isoflops"]["curves"]) == 2
  svg = (data / "figure.svg").read_text()
  assert svg.startswith("<?xml") and "bits per byte" in svg
  assert (data / "sweep" / "scaling_laws.svg").read_text() == svg


def test_cells_count_what_they_say(data):
  sweep = config(data)
  pretrain_config = dataclasses.replace(sweep.recipe,
                                        workdir=str(data / "plan"))
  cells, left_out = scaling_laws.plan_cells(
      dataclasses.replace(sweep, max_epochs=1.0, min_steps=10),
      open_sources([(source.shards.path, 1.0) for source in
                    pretrain.open_sources(pretrain_config)]))
  reasons = {record["reason"].split(", ")[1].split("=")[0]
             for record in left_out}
  assert reasons == {"more than max_epochs", "fewer than min_steps"} or (
      reasons == {"fewer than min_steps"})
  assert [c.flops for c in cells] == sorted(c.flops for c in cells)
  for cell in cells:
    model = cell.config.model
    assert cell.parameters == (count_params(model)
                               - model.vocab_size * model.embed_dim)
    assert cell.flops == flops_per_token(model, 16) * cell.tokens
    assert cell.tokens == 128 * cell.config.num_steps
    assert cell.epochs <= 1.0 and cell.config.num_steps >= 10
    # Wider models learn slower, by the square root of the width.
    assert cell.config.optimizer.learning_rate == pytest.approx(
        3e-3 * (16 / model.embed_dim) ** 0.5)


@pytest.mark.parametrize("changes, told", [
    ({"budgets": ()}, "give one of them"),
    ({"tokens": (100,)}, "give one of them"),
    ({"widths": (8, 16)}, "one embed_dim for each depth"),
    ({"widths": (8, 8, 16, 20)}, "multiple of recipe.model.head_dim"),
    ({"depths": (1, 1), "widths": (8, 8)}, "same depth and embed_dim"),
    ({"budgets": (1e7, 1e7)}, "twice"),
    ({"output": "docs/laws.svg"}, "without its ending")])
def test_mistakes_are_told(data, changes, told):
  with pytest.raises(ConfigError, match=told):
    config(data, **changes).validate()


def test_nothing_left_is_told(data):
  with pytest.raises(ConfigError, match="no run is left"):
    scaling_laws.run(config(data, min_steps=10**6))
