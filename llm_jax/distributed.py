"""Several processes of one run: who the others are, and where to meet them.

On one host there is one process, and nothing to do. Over hosts each process
runs the same command and meets the others at the coordinator, an address of
process 0. What starts processes often says who is who: a TPU pod, Slurm
(`srun`) and Open MPI (`mpirun`) do, and JAX reads it from there, taking on
Slurm and Open MPI one GPU for each process. Elsewhere the flags of
`--distributed` say it. docs/parallelism.md has a command for each.

Collectives between processes on CPU go through Gloo.
"""

from __future__ import annotations

from collections.abc import Mapping
import glob
import importlib.util
import os
import socket
import time

import jax

from llm_jax.config import ConfigError, DistributedConfig, require

_PATIENCE = 300  # seconds; hosts of a cluster do not boot at once


def start(config: DistributedConfig, *, patience: float = _PATIENCE) -> None:
  """Joins the other processes, where there are any; else does nothing.

  To be called before anything asks for a device. A second call does nothing, so
  that one stage may follow another in a process.

  Args:
    config: who the processes are, where no cluster says it.
    patience: seconds to wait for the others.

  Raises:
    ConfigError: the coordinator is not reached, or its port is taken. Where
      process 0 waits in vain for another, JAX ends it without an exception.
  """
  config.validate()
  if jax.distributed.is_initialized():
    return
  cluster = "" if config.coordinator else _cluster(os.environ)
  if not cluster and config.num_processes <= 1:
    return
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  arguments = {"initialization_timeout": max(1, int(patience))}
  if config.coordinator:
    _check_coordinator(config, patience)
    print(f"process {config.process_id} of {config.num_processes} meets the "
          f"others at {config.coordinator}, for {patience:.0f} s at most",
          flush=True)
    arguments |= {"coordinator_address": config.coordinator,
                  "num_processes": config.num_processes,
                  "process_id": config.process_id,
                  # Not a cluster's: these flags are all that there is.
                  "cluster_detection_method": "deactivate"}
  try:
    jax.distributed.initialize(**arguments)
  except (RuntimeError, ValueError) as error:
    if cluster == "TPU" and "coordinator_address" in str(error):
      return  # chips, but of no pod
    where = config.coordinator or f"what {cluster} says"
    raise ConfigError(
        f"the processes of this run did not meet at {where} "
        f"({str(error).splitlines()[0]}); start all of them with the same "
        "--distributed.coordinator=HOST:PORT and "
        "--distributed.num_processes, each with its own "
        "--distributed.process_id.") from error


def _cluster(environment: Mapping[str, str]) -> str:
  """What has started several processes, by its name; "" for one process."""
  def number(name):
    value = environment.get(name, "")
    return int(value) if value.isdigit() else 1
  if number("SLURM_STEP_NUM_TASKS") > 1:  # of `srun`; not of `sbatch` alone
    return "Slurm"
  if number("OMPI_COMM_WORLD_SIZE") > 1:
    require("OMPI_MCA_orte_hnp_uri" in environment,
            f"mpirun has started {number('OMPI_COMM_WORLD_SIZE')} processes, "
            "but does not say where process 0 is (Open MPI 5 does not); give "
            "each --distributed.coordinator=HOST:PORT, "
            "--distributed.num_processes and "
            "--distributed.process_id=$OMPI_COMM_WORLD_RANK.")
    return "Open MPI"
  hosts = (environment.get("TPU_PROCESS_ADDRESSES")
           or environment.get("TPU_WORKER_HOSTNAMES") or "")
  pod = "," in hosts or number("MEGASCALE_NUM_SLICES") > 1
  if environment.get("JAX_PLATFORMS", "tpu").startswith("tpu") and (
      importlib.util.find_spec("libtpu")):
    # Where the environment says nothing, the metadata server of a cloud's TPU
    # machine does.
    if pod or (not hosts and glob.glob("/dev/accel[0-9]*")
               + glob.glob("/dev/vfio/[0-9]*")):
      return "TPU"
  return ""


def _check_coordinator(config: DistributedConfig, patience: float) -> None:
  """Raises `ConfigError` where JAX, unable to connect, would end the process
  without an exception."""
  host, _, port = config.coordinator.rpartition(":")
  address = (host.strip("[]"), int(port))
  if config.process_id == 0:
    both = socket.has_dualstack_ipv6()
    try:
      socket.create_server(
          ("", address[1]), dualstack_ipv6=both,
          family=socket.AF_INET6 if both else socket.AF_INET).close()
    except OSError as error:
      raise ConfigError(
          f"process 0 cannot listen on port {port} of "
          f"distributed.coordinator={config.coordinator} "
          f"({error.strerror}); choose a free port.") from None
    return
  until = time.monotonic() + patience
  while True:
    try:
      socket.create_connection(address, timeout=5).close()
      return
    except OSError as error:
      require(time.monotonic() < until,
              f"distributed.coordinator={config.coordinator} was not reached "
              f"in {patience:.0f} s ({error}); it is an address of the host "
              "that runs process 0, which must be running and whose port must "
              "be open to the others.")
    time.sleep(min(1.0, patience))
