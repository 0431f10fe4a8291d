"""A run's directory: what it was started with, and JAX's compilation cache."""

from __future__ import annotations

import os
from typing import Any

from etils import epath
import jax

from llm_jax.paths import as_path
from llm_jax.run_record import check_same_run, program_info, write_record

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint",
             "grain", "numpy", "tokenizers", "tiktoken", "sentencepiece",
             "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin")


def start_run(workdir: epath.PathLike, config: Any) -> epath.Path:
  """Makes or re-enters a run's directory and turns the compile cache on.

  Writes `config.json` (the resolved config) and `run.json` (code revision,
  packages, devices, command line; earlier starts are kept in it). Call it
  before anything is compiled; process 0 writes.

  Args:
    workdir: local, `gs://` or `s3://`.
    config: a config dataclass.

  Returns:
    The directory as a path.

  Raises:
    ConfigError: the directory holds a run that this config cannot continue;
      names the first setting that differs.
  """
  workdir = as_path(workdir)
  check_same_run(workdir, config)
  enable_compilation_cache(workdir)
  if jax.process_index() == 0:
    write_record(workdir, config, run_info())
  return workdir


def run_info() -> dict[str, Any]:
  """What a run depends on beside its config, ready for JSON."""
  devices = jax.devices()
  return program_info(_PACKAGES) | {
      "devices": {"kind": devices[0].device_kind,
                  "platform": devices[0].platform,
                  "count": len(devices),
                  "processes": jax.process_count(),
                  "list": [str(device) for device in devices]},
  }


def enable_compilation_cache(workdir: epath.PathLike) -> None:
  """Keeps compiled programs in `.jax_cache` beside `workdir`.

  All runs beside each other share it, so a second start, or a second process of
  a run, compiles nothing again. A directory that is already set, as by
  JAX_COMPILATION_CACHE_DIR, stays. What is read back computes the same bits as
  what was compiled.
  """
  if jax.config.jax_compilation_cache_dir:
    return
  if "://" in str(workdir):
    directory = str(as_path(workdir).parent / ".jax_cache")
  else:
    directory = os.path.join(
        os.path.dirname(os.path.abspath(as_path(workdir))), ".jax_cache")
  jax.config.update("jax_compilation_cache_dir", directory)
  # Reading a program back takes some 10 ms; what compiles faster is not kept.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
