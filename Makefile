PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
BUF := npm exec --silent --prefix .ci -- buf
RELEASED := protos/released.binpb

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Herdbook needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml requirements.lock | $(BIN)/python
	@echo 'Installing into $(VENV), which takes about a minute'
	$(PIP) install --quiet -c requirements.lock -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(BIN)/python
	@echo 'Installing into $(VENV), which takes about a minute'
	$(PIP) install --quiet -c requirements.lock -e '.[dev]'
	@touch $@ $(VENV)/.demo

.PHONY: install
install: $(VENV)/.dev  ## Make .venv with everything development needs

.PHONY: demo
demo: $(VENV)/.demo  ## Run the whole story on this machine, in about a minute
	$(BIN)/herdbook demo

.PHONY: test
test: install  ## Run the whole test suite, on every database and every store
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal

.PHONY: lint
lint: install  ## Check style, formatting and the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

.PHONY: format
format: install  ## Apply the formatter and the safe fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: install  ## Check the types of client and server
	$(BIN)/mypy

.PHONY: protos
protos:  ## Generate the stubs from protos/
	$(PYTHON) protos/generate.py

.PHONY: protos-check
protos-check: .ci/node_modules  ## Check stubs, contract lint and compatibility with the last release
	$(PYTHON) protos/generate.py --check
	$(BUF) lint protos
	$(BUF) breaking protos --against $(RELEASED)

.PHONY: protos-release
protos-release: .ci/node_modules  ## Record the contract as released
	$(BUF) build protos -o $(RELEASED)

.ci/node_modules: .ci/package.json
	npm install --prefix .ci --no-package-lock --no-audit --no-fund --silent
	@touch $@

.PHONY: interop
interop: install  ## Run the Go and TypeScript programs against a server
	tests/interop/run.sh

.PHONY: bench
bench: install  ## Run the benchmarks, or those of BENCH="NAME …"
	$(BIN)/python -m tests.bench $(BENCH)

.PHONY: lock
lock:  ## Resolve requirements.lock anew (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		pyproject.toml -o requirements.lock

.PHONY: clean
clean:  ## Remove everything that was made here
	rm -rf $(VENV) .cache .tools .ci/node_modules build dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find client server tests protos -name __pycache__ -type d -prune -exec rm -rf {} +
