"""Processes find each other, or say in a sentence why not."""

import socket
import subprocess
import sys

import pytest

from llm_jax import distributed
from llm_jax.config import ConfigError, DistributedConfig
from tests.fake_devices import xla_flags

WORKER = """
import sys
from llm_jax import distributed
from llm_jax.config import DistributedConfig, MeshConfig
config = DistributedConfig(coordinator=sys.argv[1], num_processes=2,
                           process_id=int(sys.argv[2]))
distributed.start(config, patience=60)
distributed.start(config)  # of the next stage in the same process
import jax, jax.numpy as jnp, numpy as np
from llm_jax.config import Rules
from llm_jax.sharding import global_batch, make_mesh, process_rows
mesh = make_mesh(MeshConfig())
rows = process_rows(mesh, Rules(), 4)
batch = global_batch({"x": (10.0 + rows).astype(np.float32)}, mesh, Rules())
print("seen", jax.process_index(), len(jax.devices()), list(map(int, rows)),
      float(jax.jit(jnp.sum)(batch["x"])), flush=True)
"""


def free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]


def test_two_processes_are_one_run():
  address = f"127.0.0.1:{free_port()}"
  workers = [subprocess.Popen(
      [sys.executable, "-c", WORKER, address, str(i)], text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      env={"JAX_PLATFORMS": "cpu", "PYTHONPATH": ":".join(sys.path),
           "XLA_FLAGS": xla_flags(2, optimized=True)})
      for i in range(2)]
  for i, worker in enumerate(workers):
    out, err = worker.communicate(timeout=180)
    assert worker.returncode == 0, err
    rows = [2 * i, 2 * i + 1]
    assert f"seen {i} 4 {rows} 46.0" in out


def test_one_process_starts_nothing(monkeypatch):
  monkeypatch.setattr(distributed, "_cluster", lambda environment: "")
  distributed.start(DistributedConfig())
  assert not distributed.jax.distributed.is_initialized()


def test_a_coordinator_that_is_not_there_is_told():
  address = f"127.0.0.1:{free_port()}"
  with pytest.raises(ConfigError, match=f"{address} was not reached in 0 s"):
    distributed.start(DistributedConfig(address, 2, 1), patience=0.1)


def test_a_port_that_is_taken_is_told():
  with socket.create_server(("", 0)) as listener:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ConfigError, match="cannot listen on port"):
      distributed.start(DistributedConfig(address, 2, 0), patience=0.1)


@pytest.mark.parametrize("environment, cluster", [
    ({}, ""),
    ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"}, ""),  # sbatch, without srun
    ({"SLURM_STEP_NUM_TASKS": "1"}, ""),
    ({"SLURM_STEP_NUM_TASKS": "8"}, "Slurm"),
    ({"OMPI_COMM_WORLD_SIZE": "4",
      "OMPI_MCA_orte_hnp_uri": "15.0;tcp://10.0.0.1:34911"}, "Open MPI"),
    ({"JAX_PLATFORMS": "cpu", "TPU_WORKER_HOSTNAMES": "a,b"}, "")])
def test_what_started_the_processes(environment, cluster):
  assert distributed._cluster(environment) == cluster


def test_a_pod_is_known_by_its_hosts(monkeypatch):
  monkeypatch.setattr(distributed.importlib.util, "find_spec", bool)
  assert distributed._cluster({"TPU_WORKER_HOSTNAMES": "a,b"}) == "TPU"
  assert distributed._cluster({"TPU_WORKER_HOSTNAMES": "localhost"}) == ""
  assert distributed._cluster({"MEGASCALE_NUM_SLICES": "2"}) == "TPU"


def test_an_mpi_that_names_no_address_is_told():
  with pytest.raises(ConfigError, match="Open MPI 5 does not"):
    distributed._cluster({"OMPI_COMM_WORLD_SIZE": "4"})
