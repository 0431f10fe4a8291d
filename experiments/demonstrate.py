"""Worked demonstrations of a task, to be finetuned on before it is practised.

    python -m experiments.demonstrate --data.path=gym:chain_sum \\
        --styles=steps:0.4,at_once:0.6 --output=runs/chains/demonstrations
    python -m experiments.sft --init_from=runs/quickstart/pretrain \\
        --data.path=runs/chains/demonstrations/conversations.jsonl \\
        --workdir=runs/chains/sft

Writes `conversations.jsonl`, for `experiments.sft`, and `manifest.json`. An
answer ends with "#### N", as verifiers read it; how it comes there is a matter
of style (`llm_jax/rl/demonstrations.py`). Problems are of the training side, in
draws that reinforcement learning with the same seed does not repeat.
"""

from __future__ import annotations

import json
from typing import Any

from llm_jax import config_flags
from llm_jax.config import DemonstrateConfig, require

# Of one call of the environment.
_AT_ONCE = 100
# Reinforcement learning draws by its own seed, and practises on other problems.
_SEED_OFFSET = 1_000_003


def run(config: DemonstrateConfig) -> dict[str, Any]:
  """Writes the demonstrations; returns what `manifest.json` holds.

  Raises:
    ConfigError: a task without demonstrations, or a directory with others.
  """
  import numpy as np
  from llm_jax.config_tree import to_dict
  from llm_jax.paths import as_path
  from llm_jax.rl.demonstrations import demonstrate, work_out
  from llm_jax.rl.environments.loading import load_environment
  from llm_jax.rl.verifiers import stated_answer
  from llm_jax.run_record import write_json
  config.validate()
  require(config.count > 0, "count is 0; ask for some.")
  directory = as_path(config.output)
  asked = json.loads(json.dumps(to_dict(config)))
  asked.pop("output")
  manifest_path = directory / "manifest.json"
  if manifest_path.exists():
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    for name, value in asked.items():
      require(manifest["config"].get(name) == value, f"{config.output} holds "
              f"demonstrations with another {name}; choose another --output.")
    print(f"{config.output}: written already, nothing to do", flush=True)
    return manifest
  environment = load_environment(config.data, config.seed + _SEED_OFFSET)
  rng = np.random.default_rng((config.seed, _SEED_OFFSET))
  styles = list(config.shares)
  counts, right, rows = dict.fromkeys(styles, 0), 0, []
  try:
    for number in range(-(-config.count // _AT_ONCE)):
      for problem in environment.train_problems(number, _AT_ONCE):
        if len(rows) == config.count:
          break
        style = str(rng.choice(styles, p=list(config.shares.values())))
        text = demonstrate(problem, style, rng, config)
        counts[style] += 1
        right += stated_answer(text) == work_out(problem).answer
        system = [{"role": "system", "content": problem.system}] * bool(
            problem.system)
        rows.append({"messages": [
            *system, {"role": "user", "content": problem.prompt},
            {"role": "assistant", "content": text}]})
  finally:
    if hasattr(environment, "close"):
      environment.close()
  directory.mkdir(parents=True, exist_ok=True)
  (directory / "conversations.jsonl").write_text("".join(
      json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
      encoding="utf-8")
  manifest = {"demonstrations": len(rows), "styles": counts,
              "right": right / len(rows), "config": asked}
  write_json(manifest_path, manifest)  # last: it says that all is there
  print(f"demonstrate: {len(rows):,} in {directory / 'conversations.jsonl'}, "
        f"{100 * manifest['right']:.1f}% of them right", flush=True)
  return manifest


if __name__ == "__main__":
  config_flags.launch(DemonstrateConfig, run)
