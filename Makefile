# Needs Python 3.11+ and make. `make demo` and `make test` install what they need into .venv.

# the first interpreter that is new enough; `make PYTHON=/path/to/python demo` names another
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# handed on: `make test ARGS="tests/unit -x"`, `make demo ARGS="--fast --processes 2"`
ARGS ?=
SOAK ?= 600

.PHONY: help demo test lint format types imports bench soak stress dashboards pictures check clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.installed  ## real flights through a real Kafka, with a live table
	@$(BIN)/elsa demo $(ARGS)

# Files stay whole: their tests share brokers. In the order of tests/conftest.py, which begins with what takes long.
# Where a file is named, or what failed, one process is quicker and easier to follow.
# The suite wants all the processor: beyond one process more than there are cores it takes no less time, it only fails.
WORKERS ?= $(shell "$(PYTHON)" -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
ALONE = $(strip $(foreach word,.py --last-failed --lf,$(findstring $(word),$(ARGS))))
SPREAD = $(if $(ALONE),,-n $(WORKERS) --dist loadfile --no-loadscope-reorder)

test: $(VENV)/.installed-dev  ## the whole suite, on the embedded Kafka
	$(BIN)/python -m pytest $(SPREAD) $(ARGS)

lint: $(VENV)/.installed-dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev  ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.installed-dev  ## the direction of imports
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## measure against a plain consumer loop (minutes, on a quiet machine)
	$(BIN)/python -m tests.benchmarks $(ARGS)

soak: $(VENV)/.installed-dev  ## full load with a million keys for SOAK seconds (600): memory stays flat, nothing is lost
	$(BIN)/python -m tests.soak --seconds $(SOAK) $(ARGS)

# STRESS: minutes; PEERS=1: Celery and taskiq instead, from PyPI, in a virtual environment that is thrown away
STRESS ?= 10
PEERS ?=

stress: $(VENV)/.installed-dev  ## kill workers, brokers and networks under a numbered stream (10 minutes)
	$(BIN)/python -m tests.stress --minutes $(STRESS) $(if $(PEERS),--peers) $(ARGS)

dashboards: $(VENV)/.installed-dev  ## boards, alerts and the page of metrics from their Python files
	$(BIN)/python dashboards/build.py
	$(BIN)/python -m elsa.observe.catalogue >dashboards/metrics.md

# drawn from what a real Prometheus answered while a real worker was under load (two minutes)
pictures: $(VENV)/.installed-dev  ## the pictures of the boards, from an end-to-end run
	BOARD_ANSWERS=$(CURDIR)/build/answers.json $(BIN)/python -m pytest tests/integration/dashboards/test_end_to_end.py
	$(BIN)/python dashboards/pictures.py build/answers.json

check: lint types imports test  ## everything that CI runs

clean:  ## remove the virtual environment and all caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find elsa workers tests dashboards -name __pycache__ -type d -prune -exec rm -rf {} +

# The checkout is installed editable: only a changed pyproject.toml asks for another installation.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[broker,reload]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Elsa needs Python 3.11 or newer, and none was found." \
		"Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment;" \
		"on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
