"""Where a user's path leads: this disk, a bucket, or the Hugging Face hub."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence

from etils import epath

from llm_jax.config import ConfigError

# scheme -> package that fsspec reaches it with
_REMOTE = {"gs": "gcsfs", "s3": "s3fs"}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_SUFFIXES = (".txt", ".json", ".jsonl", ".parquet", ".model", ".gguf",
                  ".tiktoken", ".py", ".gz")


def as_path(path: epath.PathLike) -> epath.Path:
  """A path on this disk (`~` expanded), `gs://` or `s3://`, existing or not.

  Raises:
    ConfigError: another scheme, or the package for it is not installed.
  """
  text = str(path)
  if "://" not in text:
    return epath.Path(text).expanduser()
  scheme = text.split("://", 1)[0]
  if scheme not in _REMOTE:
    raise ConfigError(f"{text}: {scheme}:// is not known here; use a local "
                      "path, gs:// or s3://.")
  if importlib.util.find_spec(_REMOTE[scheme]) is None:
    raise ConfigError(f"{text} needs the package {_REMOTE[scheme]}; "
                      "pip install 'llm_jax[data]'.")
  return epath.Path(text)


def resolve(path_or_name: str, *, flag: str = "",
            allow_patterns: Sequence[str] | None = None,
            repo_type: str = "model") -> epath.Path:
  """What a user named, ready to be read.

  A path that exists is taken as it is, and so is any `gs://` or `s3://`; else
  `organisation/name` is downloaded from the Hugging Face hub (once: it is kept
  in the hub's cache, and found there without a network).

  Args:
    path_or_name: as typed.
    flag: the flag it was typed after, for the error's sentence.
    allow_patterns: files wanted of a hub repository, e.g. ("*.json",).
    repo_type: "model" or "dataset", of a hub name.

  Raises:
    ConfigError: nothing is there, or it cannot be downloaded.
  """
  told = f"{flag}={path_or_name}" if flag else str(path_or_name)
  path = as_path(path_or_name)
  if "://" in str(path_or_name) or path.exists():
    return path
  # "runs/sft" has the form of a hub name; but where runs/ is a directory here,
  # it is a path with a mistake in it.
  if (not _HUB_NAME.fullmatch(path_or_name) or path.parent.exists()
      or path_or_name.endswith(_FILE_SUFFIXES)):
    raise ConfigError(f"{told} does not exist; give a path that does, or the "
                      "organisation/name of a Hugging Face repository.")
  # Only here: the hub's client takes a while to import.
  from huggingface_hub import snapshot_download
  from huggingface_hub import errors as hub
  try:
    return epath.Path(snapshot_download(
        path_or_name, repo_type=repo_type, allow_patterns=allow_patterns))
  except hub.GatedRepoError:
    why = ("its owner wants terms accepted first; do so on its page, then log "
           "in with `hf auth login`")
  except hub.RepositoryNotFoundError:
    why = f"the Hugging Face hub has no {repo_type} of that name"
  except (hub.HfHubHTTPError, OSError, ValueError) as error:
    first_line = str(error).strip().split("\n")[0]
    why = ("the Hugging Face hub could not be reached, and nothing was "
           f"downloaded before ({type(error).__name__}: {first_line})")
  raise ConfigError(f"{told} does not exist here, and cannot be downloaded: "
                    f"{why}.")
