"""The table of docs/scaling.md: recipes compiled for slices of TPUs.

    make scaling-table
    python -m benchmarks.scaling_table --only=llama3_8b

Compiles each cell's train step with `experiments.compile_for_tpu`, in a process
of its own, and keeps what it said in docs/scaling.json; finished cells are not
compiled again (delete one's entry, or pass --again, to have it anew), so a run
that was stopped goes on. Then writes the table into docs/scaling.md. Needs the
extra `tpu` and no TPU; a cell takes some minutes on two cores.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from absl import app
from absl import flags

_ONLY = flags.DEFINE_string("only", "", "cells whose name has this")
_AGAIN = flags.DEFINE_bool("again", False, "compile finished cells anew")
_TIMEOUT = flags.DEFINE_integer("timeout", 1800, "seconds of one cell", 60)

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "scaling.json"
PAGE = ROOT / "docs" / "scaling.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
GIB = 2.0**30

# (recipe, topology, mesh and other settings that are not the recipe's)
CELLS = (
    ("llama3_8b", "v5e:8x8", ("--mesh=fsdp=64",)),
    ("llama3_8b", "v5p:4x4x4", ("--mesh=fsdp=64",)),
    ("qwen3_30b_a3b", "v5p:4x4x4", ("--mesh=fsdp=8,expert=8",)),
    ("llama3_70b", "v5p:8x8x8", ("--mesh=fsdp=512",)),
    ("llama3_405b", "v5p:8x16x16", ("--mesh=fsdp=2048",)),
    ("llama3_8b", "v5e:8x8", ("--mesh=fsdp=64", "--batch_size=64",
                              "--seq_len=2048")),
    ("llama3_8b", "v5e:8x8", ("--mesh=fsdp=64", "--batch_size=256",
                              "--seq_len=2048")),
    ("llama3_405b", "v5p:8x16x16", ("--mesh=fsdp=512,tensor=4",)),
    ("llama3_70b", "v5p:8x8x8", ("--mesh=fsdp=128,tensor=4",)),
    ("llama3_8b", "v5e:8x8", ("--mesh=fsdp=16,tensor=4",)),
    ("llama3_8b", "v5p:4x4x4", ("--mesh=fsdp=64", "--model.remat=dots")),
    ("llama3_8b", "v6e:8x8", ("--mesh=fsdp=64",)),
    ("llama3_70b", "v6e:16x16", ("--mesh=fsdp=256",)),
    ("qwen3_30b_a3b", "v5e:16x16", ("--mesh=fsdp=32,expert=8",
                                    "--batch_size=256")),
)


def name_of(cell: tuple[str, str, tuple[str, ...]]) -> str:
  """What a cell is called in docs/scaling.json."""
  recipe, topology, settings = cell
  return " ".join((recipe, topology,
                   *(s.removeprefix("--") for s in settings)))


def compile_cell(cell: tuple[str, str, tuple[str, ...]], timeout: int
                 ) -> dict[str, Any]:
  """What the tool says of a cell: its report of the step, or its refusal."""
  recipe, topology, settings = cell
  with tempfile.TemporaryDirectory() as directory:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.compile_for_tpu",
         f"--config=configs/{recipe}.py", f"--topology={topology}",
         "--steps=train", f"--output={directory}", "--mesh.data=1", *settings],
        cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode == 2:  # a sentence: it does not fit, or cannot be
      return {"refused": done.stderr.strip().splitlines()[-1]}
    if done.returncode:
      raise RuntimeError(f"{name_of(cell)}: {done.stderr[-2000:]}")
    report = json.loads(
        (pathlib.Path(directory) / "report.json").read_text())
  step = report["steps"][0]
  return {"mesh": {axis: size for axis, size in report["mesh"].items()
                   if size > 1},
          "seq_len": report["config"]["seq_len"],
          "remat": report["config"]["model"]["remat"], **step}


def row(cell: tuple[str, str, tuple[str, ...]], found: dict[str, Any]) -> str:
  """A line of the table."""
  recipe, topology, settings = cell
  if "refused" in found:
    told = found["refused"].partition("; try")[0]
    return (f"| {recipe} | {topology} | {' '.join(settings)} | "
            f"does not fit: {told} |" + " |" * 7)
  memory, bound = found["memory"], found["roofline"]
  mesh = " × ".join(f"{axis} {size}" for axis, size in found["mesh"].items())
  if found["remat"] != "full":
    mesh += f", remat {found['remat']}"
  moved = ", ".join(
      f"{kind} {total['wire_bytes'] / 1e9:.1f}"
      for kind, total in found["collectives"].items()
      if total["wire_bytes"] >= 5e7)
  return (f"| {recipe} | {topology} | {mesh} | {found['tokens'] / 1e6:.2f} M × "
          f"{found['seq_len']:,} | {memory['argument'] / GIB:.2f} | "
          f"{memory['temp'] / GIB:.2f} | {memory['total'] / GIB:.2f} of "
          f"{memory['device'] / GIB:.1f} | {moved} | {bound['bound']} "
          f"{1e3 * bound[bound['bound'] + '_s']:,.0f} ms | {bound['mfu']:.0%} "
          f"| {found['compile_seconds']:.0f} s |")


def table(results: dict[str, Any]) -> str:
  """All finished cells, as Markdown."""
  lines = ["| Recipe | Slice | Mesh | Tokens a step × context | Arguments, GiB "
           "| Temporary, GiB | In all | Received a step, GB | Bound | MFU at "
           "most | Compiled in |",
           "|---|---|---|---|---:|---:|---:|---|---|---:|---:|"]
  # One recipe after the other, in the order of CELLS.
  recipes = list(dict.fromkeys(cell[0] for cell in CELLS))
  lines += [row(cell, results[name_of(cell)])
            for cell in sorted(CELLS, key=lambda c: recipes.index(c[0]))
            if name_of(cell) in results]
  return "\n".join(lines)


def main(argv: list[str]) -> None:
  """Compiles what is missing, one cell after the other, and writes both."""
  del argv
  results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
  wanted = [cell for cell in CELLS if _ONLY.value in name_of(cell)]
  for place, cell in enumerate(wanted, 1):
    name = name_of(cell)
    if name in results and not _AGAIN.value:
      continue
    print(f"scaling_table: {place} of {len(wanted)}: {name} ...", flush=True)
    try:
      results[name] = compile_cell(cell, _TIMEOUT.value)
    except (subprocess.TimeoutExpired, RuntimeError) as error:
      # Left out, so that one cell does not cost the others theirs.
      print(f"scaling_table: {name}: {error}", flush=True)
      continue
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(RESULTS)
    print(row(cell, results[name]), flush=True)
  before, _, rest = PAGE.read_text().partition(BEGIN)
  after = rest.partition(END)[2]
  PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}")


if __name__ == "__main__":
  app.run(main)
