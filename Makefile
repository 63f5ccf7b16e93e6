# hvae-mnn: every target does its own set-up (system packages, virtual environment).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHON
SEED ?= 1
KILLS ?= 100
INPUTS ?= 10000

.DEFAULT_GOAL := help
.PHONY: help setup system demo test lint type bench campaign clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

system:
	@sh scripts/setup_system.sh

$(STAMP): pyproject.toml | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	@$(BIN)/python -m pip install --quiet --editable '.[compare]' 2>/dev/null \
		|| echo "Note: badcrossbar was not installed (it needs cairo's headers); the comparison with it is skipped."
	@touch $@

setup: system $(STAMP)  ## Install ngspice with KLU, a C compiler and the virtual environment .venv

demo: setup  ## Train a tiny HSR-VAE, export it to netlists, run it through ngspice step by step (minutes)
	$(BIN)/hvae-mnn doctor
	$(BIN)/hvae-mnn train --preset tiny --out checkpoints/demo --resume
	$(BIN)/hvae-mnn evaluate checkpoints/demo/best.pt
	$(BIN)/hvae-mnn build-netlist checkpoints/demo/best.pt --name demo
	$(BIN)/hvae-mnn simulate netlists/demo --steps 40

test: setup  ## Run the tests, with real ngspice; real corpora are read from $$HVAE_MNN_DATA when set
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: setup  ## Check style (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup  ## Check types (mypy --strict)
	$(BIN)/mypy

bench: setup  ## Measure speed as ratios in one run
	$(BIN)/python -m benchmarks

campaign: setup  ## Kill commands and spoil files at random, for half an hour or so: SEED=1 KILLS=100 INPUTS=10000
	$(BIN)/python -m tests.campaigns.kill --seed $(SEED) --count $(KILLS)
	$(BIN)/python -m tests.campaigns.fuzz --seed $(SEED) --count $(INPUTS)

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
