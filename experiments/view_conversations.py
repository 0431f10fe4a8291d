"""Conversations as they are trained on, the loss mask in colour.

    python -m experiments.view_conversations --data.path=chats.jsonl
    python -m experiments.view_conversations --tokenizer=smollm2-135m \\
        --data.path=chats.jsonl --count=20 --html=mask.html

Reads what `experiments.sft` would train on, in any of the formats of
docs/conversations.md, and prints the first of them token by token: green is
trained, grey is not. `--html` writes a page of the same.
"""

from __future__ import annotations

import itertools
from typing import Any

from llm_jax import config_flags
from llm_jax.config import ConfigError, ViewConversationsConfig


def run(config: ViewConversationsConfig) -> dict[str, Any]:
  """Prints the conversations.

  Returns:
    `conversations` that were shown, their `tokens`, and how many are `trained`.

  Raises:
    ConfigError: a vocabulary or conversations that cannot be read.
  """
  from llm_jax.convert.named import resolve_named
  from llm_jax.data.conversation_sources import load_conversations
  from llm_jax.paths import as_path
  from llm_jax.tokenizer.chat import use_template
  from llm_jax.tokenizer.loading import load_tokenizer
  from llm_jax.tokenizer.page import conversations_page
  from llm_jax.tokenizer.view import show_conversation

  config.validate()
  path = resolve_named(config.tokenizer) or config.tokenizer
  inside = as_path(path) / "tokenizer"  # of a run
  tokenizer = load_tokenizer(inside if inside.is_dir() else path)
  if config.data.template:
    use_template(tokenizer, config.data.template)
  sides = load_conversations(config.data.path, config.data, tokenizer,
                             config.seq_len, config.seed)
  views = []
  for conversation in itertools.islice(sides["train"], config.count):
    name = conversation.source or conversation.kind
    try:
      view = show_conversation(conversation.messages, tokenizer,
                               conversation.tools)
    except ConfigError as error:
      raise ConfigError(f"{name}: {error}") from error
    views.append((name, view))
    print(f"\n{name}: {view.summary()}\n{view.ansi()}", flush=True)
  if config.html:
    output = as_path(config.html)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(conversations_page(views))
    print(f"\nview_conversations: open {output} in a browser", flush=True)
  return {"conversations": len(views),
          "tokens": sum(len(view.ids) for _, view in views),
          "trained": sum(sum(view.loss_mask) for _, view in views)}


if __name__ == "__main__":
  config_flags.launch(ViewConversationsConfig, run)
