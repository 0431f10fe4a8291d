"""Conversations made by procedure, in files by kind and side of the split.

    python -m experiments.make_biographies --output=runs/biographies
    python -m experiments.make_conversations --synthetic.tool_search=4000 \\
        --synthetic.facts=4000 --synthetic.refusals=4000 \\
        --output=runs/conversations
    python -m experiments.sft --data.path=runs/conversations/train

`train/KIND.jsonl` and `validation/KIND.jsonl` have a conversation a line, with
the tools that it offers; `manifest.json` says how many there are, of what, and
what the gates dropped. Results of tools are those of the real ones
(docs/tools.md); without them, `experiments.sft` makes the same by itself.
"""

from __future__ import annotations

from typing import Any

from llm_jax import config_flags
from llm_jax.config import MakeConversationsConfig


def run(config: MakeConversationsConfig) -> dict[str, Any]:
  """Writes the files and returns the manifest.

  Raises:
    ConfigError: settings that cannot work; people or a tool are missing; or
      too few conversations pass the gates.
  """
  config.validate()
  import collections
  import dataclasses
  import json
  from llm_jax.config_chat import TOOL_KINDS
  from llm_jax.data import wikipedia
  from llm_jax.data.conversations import fits_in
  from llm_jax.data.synthetic import make_conversations
  from llm_jax.inference.tools import call_tool, load_tools
  from llm_jax.paths import as_path
  from llm_jax.tokenizer.loading import load_tokenizer

  wanted = any(getattr(config.synthetic, kind) for kind in TOOL_KINDS)
  tools = load_tools(config.tools) if wanted else ()

  def run_tool(name: str, arguments: dict[str, Any]) -> str:
    return call_tool(
        tools, {"function": {"name": name, "arguments": arguments}},
        config.tools.result_characters)

  options = {"tools": [tool.schema for tool in tools], "run_tool": run_tool,
             "writer": config.writer}
  if config.tokenizer:
    options["fits"] = fits_in(load_tokenizer(config.tokenizer), config.seq_len)
  manifest: dict[str, Any] = {
      "from": [wikipedia.version(), config.synthetic.people],
      "config": dataclasses.asdict(config)}
  for split in ("train", "validation"):
    made, manifest[split] = make_conversations(config.synthetic, split,
                                               config.seed, **options)
    kinds = collections.defaultdict(list)
    for conversation in made:
      row = {"messages": conversation.messages}
      if conversation.tools:
        row["tools"] = conversation.tools
      kinds[conversation.kind].append(row)
    directory = as_path(config.output) / split
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.glob("*.jsonl"):  # of an earlier config
      file.unlink()
    for kind, rows in kinds.items():
      (directory / f"{kind}.jsonl").write_text("".join(
          json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
          encoding="utf-8")
      record = manifest[split][kind]
      dropped = ", ".join(f"{number:,} {gate}" for gate, number in
                          record.get("dropped", {}).items() if number)
      print(f"conversations: {split} {kind}: {len(rows):,}"
            + (f"; dropped: {dropped}" if dropped else ""), flush=True)
  (as_path(config.output) / "manifest.json").write_text(
      json.dumps(manifest, indent=1))
  return manifest


if __name__ == "__main__":
  config_flags.launch(MakeConversationsConfig, run)
