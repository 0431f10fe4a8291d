"""The binaries: each a docstring, `run(config)`, and one line that launches."""
