"""What a run was started with, in its directory: config.json and run.json.

No JAX here: the stages that make text have runs, too.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from etils import epath

import llm_jax
from llm_jax.config import ConfigError
from llm_jax.config_tree import flatten, to_dict

# A run may go on with other values of these: they say how far, where and how
# it is watched, or compute the same function in another way.
_MAY_CHANGE = frozenset((
    "workdir", "num_steps", "eval_every", "eval_batches", "num_microbatches",
    "sample_prompts", "sample_tokens", "plateau_metric", "plateau_patience",
    "plateau_min_delta", "attention", "context_attention", "remat",
    "scan_layers", "dispatch", "chunk", "vocab_parts", "max_skipped",
    "kept_rollouts", "verify_seconds", "dry_run"))
_GROUPS_MAY_CHANGE = frozenset(("logging", "checkpoint", "mesh", "rules",
                                "distributed"))
# Of an executor only the number of tasks changes what is written; what is
# played or drawn when self-play is over changes nothing of it.
_NAMES_MAY_CHANGE = frozenset(f"executor.{name}" for name in (
    "kind", "workers", "partition", "time", "cpus_per_task",
    "memory_per_cpu_gb", "setup")) | {
        "output", "search.simulations", "search.pairs", "match.final_pairs",
        # How a reward is computed, and what becomes of one that fails.
        "rewards.on_error", "rewards.timeout_s", "rewards.workers",
        "rewards.memory_mb", "data.workers"}


def write_record(workdir: epath.Path, config: Any,
                 info: dict[str, Any]) -> None:
  """Writes `config.json` (the resolved config) and `run.json` (`info`, and what
  earlier starts left there)."""
  workdir.mkdir(parents=True, exist_ok=True)
  earlier = _read_json(workdir / "run.json")
  starts = earlier.pop("earlier_starts", [])
  info = {"config_class": type(config).__name__} | info
  info["earlier_starts"] = starts + [earlier] if earlier else starts
  write_json(workdir / "run.json", info)
  write_json(workdir / "config.json", to_dict(config))


def check_same_run(workdir: epath.Path, config: Any) -> None:
  """Raises `ConfigError` where `config` would not continue the run there."""
  remedy = "choose another --workdir"
  before = _read_json(workdir / "run.json").get("config_class")
  if before and before != type(config).__name__:
    raise ConfigError(f"{workdir} holds a run of another experiment (its "
                      f"config is a {before}, this one is a "
                      f"{type(config).__name__}); {remedy}.")
  saved = _read_json(workdir / "config.json")
  for name, value in flatten(config).items():
    *groups, leaf = name.split(".")
    if (leaf in _MAY_CHANGE or name in _NAMES_MAY_CHANGE
        or _GROUPS_MAY_CHANGE & set(groups)):
      continue
    old: Any = saved
    for part in (*groups, leaf):
      # A field that the older code did not have cannot differ.
      old = old.get(part) if isinstance(old, dict) else None
    value = list(value) if isinstance(value, tuple) else value
    if old is not None and old != value:
      raise ConfigError(
          f"{workdir} holds a run with {name}={old!r}, which {value!r} would "
          f"not continue; set --{name} as it was, or {remedy}.")


def _read_json(path: epath.Path) -> dict[str, Any]:
  if not path.exists():
    return {}
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except json.JSONDecodeError as error:
    raise ConfigError(f"{path} is not JSON ({error}); repair it, or choose "
                      "another --workdir.") from None


def write_json(path: epath.Path, value: dict[str, Any]) -> None:
  """Writes an indented file that is there whole or, after a kill, as before."""
  text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
  if "://" in str(path):  # an object appears whole, or not at all
    path.write_text(text, encoding="utf-8")
    return
  part = path.with_name(path.name + ".part")
  part.write_text(text, encoding="utf-8")
  part.replace(path)


def program_info(packages: Sequence[str]) -> dict[str, Any]:
  """Time, command, revision and versions, ready for JSON."""
  versions = {"llm_jax": llm_jax.__version__}
  for name in packages:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  now = datetime.datetime.now(datetime.UTC)
  return {
      "time": now.isoformat(timespec="seconds"),
      "command": sys.argv,
      "git": git_revision(os.path.dirname(os.path.abspath(__file__))),
      "python": platform.python_version(),
      "platform": platform.platform(),
      "packages": versions,
  }


def git_revision(directory: str) -> dict[str, Any] | None:
  """{"revision": ..., "dirty": bool} of the repository that tracks `directory`.

  None where git does not track it: no repository, no git, or an installed copy
  that merely lies somewhere below a repository of the user's own.
  """
  def git(*arguments: str) -> str:
    return subprocess.run(("git", "-C", directory, *arguments), check=True,
                          capture_output=True, text=True, timeout=30).stdout
  try:
    if not git("ls-files", "."):
      return None
    return {"revision": git("rev-parse", "HEAD").strip(),
            "dirty": bool(git("status", "--porcelain").strip())}
  except (OSError, subprocess.SubprocessError):
    return None
