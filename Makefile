PYTHON ?= python3
BIN := .venv/bin
export RAY_AUTH_MODE ?= token

.PHONY: env demo test test-faults lint docs ui clean

env: .venv/ready  ## the environment in .venv, with the versions of constraints.txt

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed, but $(PYTHON) is older: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: env  ## the whole pipeline on generated pictures, in minutes on two CPU cores
	$(BIN)/msinet run configs/demo.yaml

test: env  ## all tests except test-faults
	$(BIN)/python -m pytest

test-faults: env  ## the tests that kill nodes, workers and drivers, one file after another in two processes: ten minutes
	$(BIN)/python -m pytest -m faults -n 2 --dist loadfile

lint: env  ## style, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: env  ## the documentation as a site, in site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ui: env  ## MLflow's pages on http://127.0.0.1:5000
	$(BIN)/msinet ui

clean:  ## remove the environment; results stay
	rm -rf .venv
