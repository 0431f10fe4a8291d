"""How vocabularies cut a text, side by side, in colour.

    python -m experiments.view_tokens --tokenizers=runs/quickstart/tokenizer
    python -m experiments.view_tokens --file=README.md --html=tokens.html \\
        --tokenizers=runs/quickstart/tokenizer,smollm2-135m,gpt2

Prints the text with each token in a colour, its count of tokens and bytes per
token, and the first tokens with ids and bytes. `--html` writes a page that
shows the same and cuts whatever is typed into it, without a network.
"""

from __future__ import annotations

from typing import Any

from llm_jax import config_flags
from llm_jax.config import ConfigError, ViewTokensConfig


def run(config: ViewTokensConfig) -> dict[str, Any]:
  """Prints the comparison.

  Returns:
    For each vocabulary `tokens` and `bytes_per_token`.

  Raises:
    ConfigError: a vocabulary or a file that cannot be read.
  """
  from llm_jax.convert.named import resolve_named
  from llm_jax.paths import as_path
  from llm_jax.tokenizer.loading import load_tokenizer
  from llm_jax.tokenizer.page import tokens_page
  from llm_jax.tokenizer.view import compare_tokenizers

  config.validate()
  text = _read(config.file) if config.file else config.text
  tokenizers = {name: load_tokenizer(resolve_named(name) or name)
                for name in config.tokenizers}
  comparison = compare_tokenizers(text, tokenizers)
  print(comparison.ansi(config.listed), flush=True)
  if config.html:
    output = as_path(config.html)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(tokens_page(text, tokenizers))
    print(f"\nview_tokens: open {output} in a browser and type", flush=True)
  return {name: {"tokens": len(view.ids),
                 "bytes_per_token": comparison.num_bytes
                 / max(len(view.ids), 1)}
          for name, view in comparison.views.items()}


def _read(path: str) -> str:
  """The text of a file.

  Raises `ConfigError` if there is none, or it is not UTF-8.
  """
  from llm_jax.paths import as_path
  try:
    return as_path(path).read_bytes().decode()
  except OSError as error:
    raise ConfigError(f"{path} cannot be read ({error.strerror}); name a text "
                      "file with --file.") from error
  except UnicodeDecodeError as error:
    raise ConfigError(f"{path} is not UTF-8 at byte offset {error.start}; "
                      "convert it.") from error


if __name__ == "__main__":
  config_flags.launch(ViewTokensConfig, run)
