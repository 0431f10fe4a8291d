"""The bound of a step, by hand."""

import pytest

from llm_jax.scaling.chips import CHIPS, Chip
from llm_jax.scaling.collectives import Collective
from llm_jax.scaling.roofline import crossing, group_rate, roofline

# 100 operations, 10 bytes of memory, 2 bytes a link, each per second.
CHIP = Chip("toy", 100.0, 1e9, 10.0, 2.0, 2, 4, dcn_rate=0.5)
PLACES = [(0, x, y) for x in range(4) for y in range(2)]


def gather(group, wire_bytes, kind="all-gather", runs=1):
  return Collective(kind, runs, 0, wire_bytes, tuple(group), "")


def bound(collectives, flops=50.0, executed=80.0, hbm=5.0, places=PLACES):
  return roofline(CHIP, (4, 2), flops=flops, executed_flops=executed,
                  hbm_bytes=hbm, collectives=collectives, places=places)


def test_a_step_that_computes():
  found = bound([])
  assert found.compute_s == pytest.approx(0.8) and found.hbm_s == 0.5
  assert found.bound == "compute"
  assert found.mfu == pytest.approx(50 / 80)


def test_a_step_that_waits_for_memory():
  found = bound([], hbm=20.0)
  assert found.bound == "hbm" and found.mfu == pytest.approx(0.5 / 2)


def test_links_of_the_axes_that_a_group_has():
  ring, line = [PLACES[i] for i in (0, 2, 4, 6)], PLACES[:2]
  assert group_rate(CHIP, (4, 2), ring) == 4.0  # 4 devices close: two links
  assert group_rate(CHIP, (4, 2), line) == 2.0  # 2 do not
  assert group_rate(CHIP, (4, 2), PLACES) == 6.0
  assert group_rate(CHIP, (4, 2), [(0, 0, 0), (1, 0, 0)]) == 0.5
  assert crossing(CHIP, (4, 2), PLACES) == pytest.approx(4 / 4 + 2 / 4)


def test_collectives_wait_for_links():
  found = bound([gather(range(8), 12.0, runs=3)])
  assert found.ici_s == pytest.approx(3 * 12 / 6)
  assert found.bound == "ici" and found.mfu == pytest.approx(0.5 / 6)
  # A byte of an all-to-all passes one and a half links on average.
  exchanged = bound([gather(range(8), 12.0, "all-to-all")])
  assert exchanged.ici_s == pytest.approx(1.5 * 12 / 6)
  apart = bound([gather((0, 1), 3.0)], places=[(0, 0, 0), (1, 0, 0)])
  assert apart.dcn_s == 6 and apart.ici_s == 0 and apart.bound == "dcn"


def test_figures_of_the_chips_are_in_order():
  """v5p moves more than v5e, and no link is faster than memory."""
  assert CHIPS["v5p"].flops > CHIPS["v4"].flops > CHIPS["v5e"].flops
  for chip in CHIPS.values():
    assert chip.link_rate < chip.hbm_rate < chip.flops
