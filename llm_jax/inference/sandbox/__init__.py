"""Where Python that a model wrote is run: see `protocol.py`."""
