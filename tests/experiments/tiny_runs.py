"""What the tests of the experiments are made of."""

import json

WORDS = ("the of a model language text token learns reads writes long short "
         "green tree river stone over under because and then never").split()
TINY_MODEL = ("--model.embed_dim=32", "--model.num_layers=2",
              "--model.num_heads=2", "--model.num_kv_heads=2",
              "--model.head_dim=16", "--model.mlp_dim=48",
              "--model.max_seq_len=64")


def words(rng, number):
  """Random words in a row."""
  return " ".join(rng.choice(WORDS, number))


def write_jsonl(path, records):
  """One JSON object a line."""
  path.write_text("".join(json.dumps(r) + "\n" for r in records))
  return path
