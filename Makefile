# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): requirements/uv.txt requirements/dev.txt pyproject.toml proto/pyproject.toml sdk/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Waypost needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e proto -e sdk -e .
	@touch $(STAMP)

install: $(STAMP) ## the environment in .venv, from the pinned files, and the console
	@$(BIN)/python -P -m console.build --lenient

console: $(STAMP) ## build the web console (Node comes from a wheel)
	@$(BIN)/python -P -m console.build

console-types: $(STAMP) ## write the console's types of the API anew
	@$(BIN)/python -P -m console.api_types

up: install ## the platform on this machine, in the foreground
	@$(BIN)/waypost up

demo: install ## the main job on real input (DIR=… for another folder)
	@$(BIN)/python -P -m infra.local.demo $(if $(DIR),--dir "$(DIR)")

browser: ## Debian's Chromium, for the tests of the console
	@command -v chromium >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
	|| echo "There is no chromium and it could not be installed: the tests of the console in a browser are left out." >&2

test: install browser ## the whole test suite against the real servers
	@$(BIN)/python -P -m pytest $(ARGS)

lint: install ## style, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

check: test lint migrations ## what CI runs

migrations: install ## the migrations make the schema that the code expects
	@$(BIN)/python -P -m pytest tests/storage/test_migrations.py -q

bench: install ## measure (PEERS=1 beside other platforms)
	@$(BIN)/python -P -m tests.bench $(if $(PEERS),--peers) $(ARGS)

fault: install ## kill things under load and count (SEED=…)
	@$(BIN)/python -P -m tests.fault $(if $(SEED),--seed $(SEED)) $(ARGS)

proto: install ## regenerate the contracts package from the .proto sources
	@$(BIN)/python proto/generate.py

access: install ## write the matrix of routes, permissions and roles into docs/access.md
	@$(BIN)/python -P -m gateway.matrix

lock: install ## pin the newest versions that fit
	@for f in uv dev peers; do $(BIN)/uv pip compile -q --upgrade --generate-hashes --no-header --no-annotate --universal --python-version 3.11 requirements/$$f.in -o requirements/$$f.txt; done

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis gateway/static console/node_modules console/dist

.PHONY: help install browser console console-types up demo test lint check migrations bench fault proto access lock clean
