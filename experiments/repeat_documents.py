"""Makes a corpus in which some documents occur many times.

    python -m experiments.repeat_documents \\
        --config=configs/probe_memorize_corpus.py

Of `data`, so many documents are taken for each number in `repeats` and written
so often, in random order, as JSON lines. What a model trained on the result
recites is then asked by `experiments.probe_base_model`.
"""

from __future__ import annotations

import json
from typing import Any

from llm_jax import config_flags
from llm_jax.config import RepeatDocumentsConfig


def run(config: RepeatDocumentsConfig) -> dict[str, Any]:
  """Writes `output`.

  Returns:
    `documents` (different ones), `lines` and `characters`.

  Raises:
    ConfigError: no text, or too few documents that are long enough.
  """
  config.validate()
  from llm_jax.data.documents import iter_documents
  from llm_jax.data.repeats import repeat_documents
  from llm_jax.paths import as_path
  corpus = repeat_documents(
      (document.text for document in iter_documents(config.data)),
      config.repeats, config.documents, config.max_chars, config.seed)
  output = as_path(config.output)
  output.parent.mkdir(parents=True, exist_ok=True)
  part = output.with_name(output.name + ".part")
  part.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n"
                          for text in corpus), encoding="utf-8")
  part.replace(output)
  counts = {"documents": len(set(corpus)), "lines": len(corpus),
            "characters": sum(map(len, corpus))}
  print(f"{output}: " + ", ".join(f"{value:,} {name}"
                                  for name, value in counts.items()),
        flush=True)
  return counts


if __name__ == "__main__":
  config_flags.launch(RepeatDocumentsConfig, run)
