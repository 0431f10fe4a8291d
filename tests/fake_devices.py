"""XLA's flags for simulated devices on a CPU that other work may keep busy."""

# Devices that meet in a collective operation end their process where one of
# them is a minute late, as can be on a machine that swaps, or is halted and
# goes on.
_PATIENCE = 600  # seconds


def xla_flags(number: int, *, optimized: bool = False) -> str:
  """The value of XLA_FLAGS for a process with simulated devices.

  Args:
    number: of devices.
    optimized: whether XLA takes its time to make programs fast. Most of a
      test's time is XLA compiling what then runs for milliseconds.
  """
  flags = [f"--xla_force_host_platform_device_count={number}",
           f"--xla_cpu_collective_call_terminate_timeout_seconds={_PATIENCE}"]
  if not optimized:
    flags.append("--xla_backend_optimization_level=0")
  return " ".join(flags)
