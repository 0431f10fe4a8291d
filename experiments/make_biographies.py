"""A corpus on people who never lived, so that knowledge can be measured.

    python -m experiments.make_biographies --output=runs/biographies

`documents.jsonl` is text to pretrain on: of each known person, each fact in so
many different sentences, and of every other one also as questions with answers.
`notes.jsonl`, for the time after that, tells facts of the known and says of
others that theirs are not known. `facts.jsonl` has all people, also those whom
no text tells of and those who have no facts; `search.jsonl` is what a search
tool may find. `manifest.json` says what there is, and how well a name's letters
tell the groups apart.
"""

from __future__ import annotations

from typing import Any

from llm_jax import config_flags
from llm_jax.config import MakeBiographiesConfig


def run(config: MakeBiographiesConfig) -> dict[str, Any]:
  """Writes the files and returns the manifest.

  Raises:
    ConfigError: settings that cannot work, or the corpus from which the names
      are taken is not installed.
  """
  import dataclasses
  import json
  from llm_jax.data import biographies, wikipedia
  from llm_jax.data.name_classifier import separability
  from llm_jax.data.notes import write_notes
  from llm_jax.paths import as_path

  config.validate()
  people = biographies.make_people(config.people)
  texts = biographies.documents(people, config.people)
  directory = as_path(config.output)
  directory.mkdir(parents=True, exist_ok=True)
  biographies.write_people(people, str(directory / biographies.FACTS))
  notes = write_notes(people, config.people.notes, config.people.seed)
  rows = {"documents.jsonl": [{"text": text} for text in texts],
          "notes.jsonl": [{"text": text} for text in notes],
          "search.jsonl": [{"title": title, "text": text} for title, text
                           in biographies.search_entries(people)]}
  for name, records in rows.items():
    part = directory / (name + ".part")
    part.write_text("".join(json.dumps(record) + "\n" for record in records))
    part.replace(directory / name)
  names = {group: [person.name for person in people.group(group)]
           for group in biographies.GROUPS}
  manifest = {
      "people": {group: len(found) for group, found in names.items()},
      "asked": len(people.asked),
      "facts": sum(len(person.facts) for person in people.known),
      "documents": len(texts), "notes": len(notes),
      "characters": sum(map(len, texts)),
      "words": sum(len(text.split()) for text in texts),
      # 0.5: a name's letters do not say whether somebody is known.
      "name_auc": {group: round(separability(names["known"], found), 4)
                   for group, found in names.items()
                   if group != "known" and len(found) >= 10
                   and len(names["known"]) >= 10},
      "names_from": wikipedia.version(),
      "config": dataclasses.asdict(config)}
  (directory / "manifest.json").write_text(json.dumps(manifest, indent=1))
  print(f"biographies: {len(names['known']):,} known, "
        f"{len(names['unlearned']):,} unlearned, {len(names['invented']):,} "
        f"invented people; {manifest['documents']:,} documents, "
        f"{manifest['characters']:,} characters in {directory}", flush=True)
  for group, area in manifest["name_auc"].items():
    print(f"biographies: area under the curve of telling known from {group} "
          f"names by their letters: {area:.3f}", flush=True)
  return manifest


if __name__ == "__main__":
  config_flags.launch(MakeBiographiesConfig, run)
