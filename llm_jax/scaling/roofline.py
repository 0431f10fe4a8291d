"""The least time that a step can take, and what sets it.

Three resources, each as if it alone were waited for: arithmetic at the peak,
memory at its bandwidth, the links between chips at theirs (Williams et al.
2009, "Roofline"; Austin et al. 2025, "How to Scale Your Model", chapters 1 to
3). The step takes the longest of the three at best, which bounds the share of
the peak that it can reach (MFU).
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from typing import Any

from llm_jax.scaling.chips import Chip
from llm_jax.scaling.collectives import Collective


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Seconds of a step by resource, and the bound on the share of the peak.

  Attributes:
    compute_s: of the operations that are done at the chip's peak, those that
      are done again (remat) included.
    hbm_s: of the bytes that a step must move.
    ici_s: of the collectives inside a slice, one after the other.
    dcn_s: of those between slices.
    bound: the resource that takes longest: compute, hbm, ici or dcn.
    mfu: the model's operations at the chip's peak over the longest.
  """
  compute_s: float
  hbm_s: float
  ici_s: float
  dcn_s: float
  bound: str
  mfu: float


def roofline(chip: Chip, torus: Sequence[int], *, flops: float,
             executed_flops: float, hbm_bytes: float,
             collectives: Sequence[Collective],
             places: Sequence[tuple[int, ...]]) -> Roofline:
  """The bound of one step on one device.

  Args:
    chip: what it can do.
    torus: lengths of the slice's axes.
    flops: operations of a device in a step, each once: what counts as use.
    executed_flops: those done, some of them twice.
    hbm_bytes: bytes that a device reads and writes at least.
    collectives: of the compiled step.
    places: (slice, coordinates...) of each partition's device.
  """
  ici_s = dcn_s = 0.0
  for one in collectives:
    group = [places[i] for i in one.group]
    seconds = one.runs * one.wire_bytes / group_rate(chip, torus, group)
    if len({place[0] for place in group}) > 1:
      dcn_s += seconds
      continue
    if one.kind in ("all-to-all", "ragged-all-to-all"):
      seconds *= max(1.0, crossing(chip, torus, group))
    ici_s += seconds
  times = {"compute": executed_flops / chip.flops,
           "hbm": hbm_bytes / chip.hbm_rate, "ici": ici_s, "dcn": dcn_s}
  bound = max(times, key=times.get)
  return Roofline(times["compute"], times["hbm"], ici_s, dcn_s, bound,
                  flops / chip.flops / times[bound] if times[bound] else 0.0)


def group_rate(chip: Chip, torus: Sequence[int],
               group: Sequence[tuple[int, ...]]) -> float:
  """Bytes per second that a device can receive from a group of devices.

  All links of the axes of the torus along which the group extends: two an
  axis where it closes to a ring that the group goes round, one where it does
  not (what passes the end of a line has only one way in).
  """
  if len({place[0] for place in group}) > 1:
    return chip.dcn_rate
  links = sum(2 if ring else 1 for _, ring in _axes(chip, torus, group))
  return max(1, links) * chip.link_rate


def crossing(chip: Chip, torus: Sequence[int],
             group: Sequence[tuple[int, ...]]) -> float:
  """Links that a byte of an all-to-all passes on its way, on average.

  A quarter of a ring's length; of a line so many that its middle link is
  waited for. What is for a far device takes the links of those between.
  """
  return sum(reached / 4 for reached, _ in _axes(chip, torus, group))


def _axes(chip, torus, group):
  """(devices, whether they close to a ring) of each axis of the torus along
  which a group extends."""
  found = []
  for axis, length in enumerate(torus):
    reached = len({place[1 + axis] for place in group})
    if reached > 1:
      found.append((reached,
                    length % chip.wrap == 0 and reached == length))
  return found


def device_places(devices: Sequence[Any]) -> list[tuple[int, ...]]:
  """(slice, coordinates...) of devices; of a CPU's (0, number)."""
  return [(getattr(d, "slice_index", 0) or 0,
           *(getattr(d, "coords", None) or (d.id,))) for d in devices]
