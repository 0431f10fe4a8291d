"""What was learned of a compiled step, as JSON and as a table to read."""

from __future__ import annotations

import dataclasses
from typing import Any

from llm_jax.config import CompileForTpuConfig
from llm_jax.scaling.chips import GIB
from llm_jax.scaling.collectives import read_collectives, totals
from llm_jax.scaling.compiled import (
    CompiledStep, serving_model, serving_shape)
from llm_jax.scaling.roofline import device_places, roofline
from llm_jax.scaling.topology import chip_of, torus_of
from llm_jax.scaling.workload import (
    Workload, serve_workload, train_workload)
from llm_jax.training.memory_estimate import MemoryEstimate, estimate_memory
from llm_jax.training.optimizers import make_optimizer

_LISTED = 10  # largest collectives


def account(name: str, config: CompileForTpuConfig, mesh: Any
            ) -> tuple[Workload, MemoryEstimate | None]:
  """(what a step of a pretraining run has to do, memory estimated without
  compiling, of the training step)."""
  if name != "train":
    return serve_workload(name, serving_model(config),
                          *serving_shape(config, mesh), mesh), None
  estimate = estimate_memory(
      config, config.model, mesh,
      make_optimizer(config.optimizer, config.num_steps, config.model))
  return train_workload(config, config.model, estimate, mesh), estimate


def step_report(step: CompiledStep, topology: str, mesh: Any, text: str,
                work: Workload, estimate: MemoryEstimate | None = None,
                beside: int = 0) -> dict[str, Any]:
  """All that is told of one step, ready for JSON; bytes are of one device.

  Args:
    step: a compiled program.
    topology: that it was compiled for.
    mesh: likewise.
    text: of the compiled program.
    work: what it has to do.
    estimate: of its memory, for a training step.
    beside: bytes that lie on a device while it runs, and are no part of it.
  """
  found, unknown = read_collectives(text, mesh.size)
  report: dict[str, Any] = {
      "step": step.name, "devices": mesh.size, "tokens": step.tokens,
      "compile_seconds": round(step.seconds, 1),
      "memory": _memory(step, topology, beside),
      "collectives": totals(found),
      "largest_collectives": [
          {"kind": one.kind, "runs": one.runs, "devices": len(one.group),
           "array_bytes": one.array_bytes, "source": one.source}
          for one in sorted(found, key=lambda c: -c.runs * c.wire_bytes)
          [:_LISTED]],
      "loops_of_unknown_length": unknown,
      "work": dataclasses.asdict(work)}
  if estimate is not None:
    report["estimate"] = dataclasses.asdict(estimate) | {
        "temporary": estimate.temporary, "total": estimate.total}
  if (chip := chip_of(topology)) is not None:
    report["roofline"] = dataclasses.asdict(roofline(
        chip, torus_of(topology), flops=work.flops,
        executed_flops=work.executed_flops, hbm_bytes=work.hbm_bytes,
        collectives=found, places=device_places(list(mesh.devices.flat))))
  return report


def _memory(step: CompiledStep, topology: str, beside: int) -> dict[str, Any]:
  """XLA's own account. `total` is what a step holds at its peak: arguments that
  are given up for results count once."""
  stats = step.compiled.memory_analysis()
  chip = chip_of(topology)
  found = {name: int(getattr(stats, f"{name}_size_in_bytes"))
           for name in ("argument", "output", "alias", "temp",
                        "generated_code")}
  found["host_temp"] = int(stats.host_temp_size_in_bytes)
  found["total"] = (found["argument"] + found["output"] - found["alias"]
                    + found["temp"] + found["generated_code"])
  if beside:
    found["beside"] = beside
    found["total"] += beside
  found["device"] = int(chip.hbm_bytes) if chip else 0
  return found


def markdown(reports: list[dict[str, Any]], title: str) -> str:
  """The reports as a page."""
  lines = [f"# {title}", ""]
  for report in reports:
    lines += [f"## {report['step']}: {report['devices']} devices, "
              f"{report['tokens']:,} tokens, compiled in "
              f"{report['compile_seconds']:.0f} s", ""]
    lines += _memory_lines(report) + [""]
    lines += _collective_lines(report) + [""]
    lines += _bound_lines(report) + [""]
  return "\n".join(lines)


def _memory_lines(report):
  memory = report["memory"]
  of = f" of {memory['device'] / GIB:.2f}" if memory["device"] else ""
  lines = ["| Memory of a device | GiB |", "|---|---:|"]
  if "estimate" in report:
    estimate = report["estimate"]
    lines += [f"| parameters | {estimate['params'] / GIB:.3f} |",
              f"| moments and the rest of the state | "
              f"{estimate['optimizer'] / GIB:.3f} |",
              f"| batch | {estimate['batch'] / GIB:.3f} |"]
  lines += [f"| arguments, all | {memory['argument'] / GIB:.3f} |",
            f"| temporary | {memory['temp'] / GIB:.3f} |",
            f"| results that are not arguments' own memory | "
            f"{(memory['output'] - memory['alias']) / GIB:.3f} |",
            f"| program | {memory['generated_code'] / GIB:.3f} |"]
  if "beside" in memory:
    lines.append("| what else lies there meanwhile | "
                 f"{memory['beside'] / GIB:.3f} |")
  lines += [f"| **total** | **{memory['total'] / GIB:.2f}**{of} |"]
  if memory["host_temp"]:
    lines.append(f"| temporary, in the host's memory | "
                 f"{memory['host_temp'] / GIB:.3f} |")
  if "estimate" in report:
    lines += ["", "Estimated without compiling: temporary "
              f"{estimate['temporary'] / GIB:.2f} GiB (activations "
              f"{estimate['activations'] / GIB:.2f}; then logits "
              f"{estimate['logits'] / GIB:.2f}, or gradients "
              f"{estimate['gradients'] / GIB:.2f} and a layer's work "
              f"{estimate['layer'] / GIB:.2f}), total "
              f"{estimate['total'] / GIB:.2f}."]
  return lines


def _collective_lines(report):
  lines = ["| Collective | In the text | Runs | Arrays, GB | "
           "Received, GB |", "|---|---:|---:|---:|---:|"]
  for kind, row in report["collectives"].items():
    lines.append(f"| {kind} | {row['instructions']} | {row['runs']} | "
                 f"{row['array_bytes'] / 1e9:.3f} | "
                 f"{row['wire_bytes'] / 1e9:.3f} |")
  if not report["collectives"]:
    lines.append("| none | 0 | 0 | 0 | 0 |")
  if report["loops_of_unknown_length"]:
    lines += ["", "Counted once, as their length is not known: "
              + ", ".join(report["loops_of_unknown_length"]) + "."]
  return lines


def _bound_lines(report):
  work = report["work"]
  lines = [f"{work['flops'] / 1e12:,.3f} TFLOP a device and step, "
           f"{work['executed_flops'] / 1e12:,.3f} done; at least "
           f"{work['hbm_bytes'] / 1e9:,.3f} GB of memory moved."]
  if (bound := report.get("roofline")) is not None:
    times = ", ".join(f"{name} {bound[name + '_s'] * 1e3:,.1f} ms"
                      for name in ("compute", "hbm", "ici", "dcn"))
    lines += ["", f"At best: {times}. Bound by {bound['bound']}; MFU at most "
              f"{bound['mfu']:.0%}."]
  return lines
