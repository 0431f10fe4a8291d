"""Eight fake devices and strict broadcasting, before JAX is imported.

XLA is told to compile with little optimisation: the suite takes half as long.
"""

import os

from tests.fake_devices import xla_flags

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {xla_flags(8)}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
