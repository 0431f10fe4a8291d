"""Losses, optimisers, the one train step, checkpoints."""
