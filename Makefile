# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types unit format clean help

help:            ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv: some 6 GB, most of it PyTorch with its GPU libraries"
	$(INSTALL) '.[lite,deploy]'
	touch $@

# Besides what the demo needs: transformers, ultralytics (AGPL-3.0), and the tools of the tests.
.venv/installed: .venv/demo
	$(INSTALL) '.[lite,deploy,transformers,ultralytics,dev]'
	touch $@

demo: .venv/demo  ## the whole path on synthetic scenes, in five minutes
	$(BIN)/skystill demo --out runs/demo

test: lint types unit  ## lint, types, tests

lint: .venv/installed  ## ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed  ## mypy, strict
	$(BIN)/mypy

unit: .venv/installed  ## pytest
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

format: .venv/installed  ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:           ## remove the environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
