"""Programs per second of the sandboxes that tools run Python in.

    python -m benchmarks.sandboxes
    python -m benchmarks.sandboxes --sandboxes=process --seconds=20

Each program prints a number; half of it is what a model writes for arithmetic.
`alone` is one program after another, `at_once` as many threads as the loop of
tools uses. Prints a JSON line for each sandbox and appends to RESULTS.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import statistics
import time

from benchmarks.results import append_row, surroundings
from llm_jax.config_tools import ProgramLimits, ToolsConfig
from llm_jax.inference.sandbox.protocol import Sandbox
from llm_jax.inference.tools import load_sandbox

COLUMNS = ("date", "sandbox", "alone_per_s", "median_ms", "p95_ms",
           "at_once_per_s", "threads", "load_average")


def measure(sandbox: Sandbox, seconds: float, threads: int) -> dict[str, float]:
  """Rates of one sandbox, each over about `seconds`."""
  limits = ProgramLimits()

  def run(number: int) -> float:
    start = time.perf_counter()
    result = sandbox.run(f"x = {number} * 4321\nprint(x)", limits)
    assert result.output == f"{number * 4321}\n", result
    return time.perf_counter() - start

  run(0)
  times: list[float] = []
  while sum(times) < seconds:
    times.append(run(len(times)))
  programs = max(threads, int(len(times) / sum(times) * seconds))
  start = time.perf_counter()
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    list(pool.map(run, range(programs)))
  return {"alone_per_s": len(times) / sum(times),
          "median_ms": 1000 * statistics.median(times),
          "p95_ms": 1000 * statistics.quantiles(times, n=20)[-1],
          "at_once_per_s": programs / (time.perf_counter() - start)}


def main() -> None:
  """Measures the sandboxes that are asked for."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--sandboxes", default="monty,process")
  parser.add_argument("--seconds", type=float, default=10.0)
  parser.add_argument("--threads", type=int, default=4 * (os.cpu_count() or 1))
  options = parser.parse_args()
  for name in options.sandboxes.split(","):
    record = {"benchmark": "sandboxes", "sandbox": name,
              "threads": options.threads, **surroundings(),
              **measure(load_sandbox(ToolsConfig(sandbox=name)),
                        options.seconds, options.threads)}
    print(json.dumps(record), flush=True)
    append_row(record, COLUMNS)


if __name__ == "__main__":
  main()
