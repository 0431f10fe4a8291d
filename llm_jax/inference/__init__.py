"""Sampling from the model: batches for training, streams for people."""
