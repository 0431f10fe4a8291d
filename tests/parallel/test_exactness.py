"""A mesh changes where numbers are computed and not which: losses of twenty
steps are one device's, to rounding."""

import dataclasses
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.fake_devices import xla_flags
from twenty_steps import ALONE, CASES, STEPS, losses_of

# Relative: at the first step, and at each of twenty.
BOUNDS = {"float64": (1e-8, 1e-8), "float32": (1e-5, 1e-3)}
OVER_PROCESSES = ("dp8", "fsdp4_tp2", "fsdp2_tp2_context2", "expert4_dp2")


@functools.cache
def alone(case, dtype, steps):
  return losses_of(case, dtype, steps, jax.devices()[:1])


def check(name, losses, dtype, steps=STEPS):
  case = dataclasses.replace(CASES[name], mesh=ALONE, num_microbatches=1)
  expected = alone(case, dtype, steps)
  apart = np.abs(losses / expected - 1)
  print(f"{name} {dtype}: {apart[0]:.1e} at the first step, {apart.max():.1e} "
        f"at the worst; loss {expected[0]:.3f} to {expected[-1]:.3f}")
  first, worst = BOUNDS[dtype]
  assert apart[0] <= first
  assert apart.max() <= worst
  return expected


def test_some_steps_over_a_mesh():
  with jax.enable_x64(True):
    losses = losses_of(CASES["fsdp2_tp2_context2"], "float64", 3)
    expected = check("fsdp2_tp2_context2", losses, "float64", 3)
  assert losses.shape == (3,) and expected[-1] < expected[0]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_over_a_mesh(name, dtype):
  with jax.enable_x64(dtype == "float64"):
    expected = check(name, losses_of(CASES[name], dtype), dtype)
  assert expected[-1] < 0.7 * expected[0]  # something was learnt


@pytest.mark.slow
@pytest.mark.parametrize("dtype", BOUNDS)
def test_twenty_steps_over_two_processes(dtype):
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"
  program = pathlib.Path(__file__).parent / "twenty_steps.py"
  root = program.parents[2]
  workers = [subprocess.Popen(
      [sys.executable, program, address, str(i), dtype, *OVER_PROCESSES],
      text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      env=os.environ | {
          "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu",
          "XLA_FLAGS": xla_flags(4)})
      for i in range(2)]
  outputs = [worker.communicate(timeout=1800) for worker in workers]
  for worker, (out, err) in zip(workers, outputs):
    assert worker.returncode == 0, err
    told = [json.loads(line) for line in out.splitlines()
            if line.startswith("{")]
    assert [record["case"] for record in told] == list(OVER_PROCESSES)
    with jax.enable_x64(dtype == "float64"):
      for record in told:
        check(record["case"], np.array(record["losses"]), dtype)
