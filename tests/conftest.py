"""Eight fake devices and strict broadcasting, before JAX is imported.

Most of a test's time is XLA compiling what then runs for milliseconds, so it is
told to compile with little optimisation: the suite takes half as long.
"""

import os

os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") +
                           " --xla_force_host_platform_device_count=8"
                           " --xla_backend_optimization_level=0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
