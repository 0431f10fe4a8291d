"""Compiling for accelerators that are not here, and what that tells."""
