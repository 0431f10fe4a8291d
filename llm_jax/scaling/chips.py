"""What a chip can do at best.

Figures of Google's pages on each generation of Cloud TPU
(cloud.google.com/tpu/docs/v4, v5e, v5p and v6e, read in 2025): bfloat16
operations, memory and its bandwidth, and the bandwidth of all inter-chip links
of a chip, which is here divided by the number of its links (four in a 2D torus,
six in a 3D one) and, as the pages count both directions, by two. Austin et al.
2025, "How to Scale Your Model" (jax-ml.github.io/scaling-book), chapter 2, has
the same table with 45 and 90 GB/s a link and direction.
"""

from __future__ import annotations

import dataclasses

GIB = 2.0**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One kind of device.

  Attributes:
    name: as in a topology's name.
    flops: bfloat16 operations per second, dense.
    hbm_bytes: memory that a program may use; a little less than the maker
      states, as the compiler's own message has it.
    hbm_rate: bytes per second, of memory.
    link_rate: bytes per second, of one link between chips, one way.
    torus_dims: axes of the network: 2 or 3.
    wrap: an axis of a slice closes to a ring where its length is a multiple of
      this.
    dcn_rate: bytes per second and chip between slices, one way.
  """
  name: str
  flops: float
  hbm_bytes: float
  hbm_rate: float
  link_rate: float
  torus_dims: int
  wrap: int
  dcn_rate: float = 6.25e9


CHIPS = {chip.name: chip for chip in (
    Chip("v4", 275e12, 31.25 * GIB, 1.2e12, 45e9, 3, 4, 3.125e9),
    Chip("v5e", 197e12, 15.75 * GIB, 8.1e11, 45e9, 2, 16, 3.125e9),
    Chip("v5p", 459e12, 95.74 * GIB, 2.765e12, 90e9, 3, 4),
    Chip("v6e", 918e12, 31.25 * GIB, 1.64e12, 90e9, 2, 16, 12.5e9),
)}
