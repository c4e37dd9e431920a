# Everything a developer or CI runs. `make` alone lists it. Needs Python 3.11 to 3.13 with pip, and nothing else:
# the first target that wants the environment builds .venv from uv.lock with a uv of its own (.tools).

UV_VERSION := 0.13.9
WORKERS ?= 2

# The first interpreter that is new enough, old enough, has pip, and really runs (a version manager's shim may not). Asked only when needed.
PYTHON = $(shell for candidate in python3.13 python3.12 python3.11 python3; do \
	$$candidate -c 'import sys, pip; assert (3, 11) <= sys.version_info[:2] < (3, 14); print(sys.executable)' 2>/dev/null && break; done)

UV := .tools/bin/uv
ENVIRONMENT := .venv/.installed
RUN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help install demo dev up down test check bench-build bench-validate bench-online faults clean
.SUFFIXES:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

install: $(ENVIRONMENT) ## build .venv from uv.lock

demo: $(ENVIRONMENT) ## raw events to online features, on embedded servers
	$(RUN)/feature-platform demo

dev: $(ENVIRONMENT) ## open the Dagster UI on the embedded servers and the demo's data
	$(RUN)/feature-platform dev

up: $(ENVIRONMENT) ## start the embedded servers and print the environment to export
	$(RUN)/feature-platform up

down: $(ENVIRONMENT) ## stop the embedded servers, keep their data
	$(RUN)/feature-platform down

test: $(ENVIRONMENT) ## run the test suite
	$(RUN)/pytest -n $(WORKERS) --dist loadfile

check: $(ENVIRONMENT) ## what CI runs: lint, format, types, import contracts, tests
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(MAKE) test

bench-build: $(ENVIRONMENT) ## time building and writing features against bare tools
	$(RUN)/python -m tests.benchmarks.bench_build

bench-validate: $(ENVIRONMENT) ## time validating raw events against bare DuckDB
	$(RUN)/python -m tests.benchmarks.bench_validate

bench-online: $(ENVIRONMENT) ## time loading and reading online features against stock Feast
	$(RUN)/python -m tests.benchmarks.bench_online

faults: $(ENVIRONMENT) ## the fault campaigns in full: a million simulated schedules, then everything against real servers (an hour)
	rm -f build/figures/faults.json
	FAULTS=full $(RUN)/pytest tests/faults/test_simulation.py -n $(WORKERS) --dist load --timeout 0
	FAULTS=full $(RUN)/pytest tests/faults --ignore tests/faults/test_simulation.py -n $(WORKERS) --dist loadfile --timeout 0
	$(RUN)/python -m tests.faults.figures

clean: ## remove the environment, caches and figures; keep .feature_platform, which holds local data
	rm -rf .venv .tools build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# uv does not read pip's settings, so an index named there is passed on. A user's own index gets the locked versions and hashes too, but
# not the locked addresses, which name the public index.
$(ENVIRONMENT): uv.lock pyproject.toml $(UV)
	@set -e; python="$(PYTHON)"; \
	index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$("$$python" -m pip config get global.index-url 2>/dev/null || true)}}}"; \
	if [ -z "$$index" ]; then \
		$(UV) sync --frozen --all-extras --python "$$python"; \
	else \
		export UV_DEFAULT_INDEX="$$index"; \
		$(UV) venv --allow-existing --python "$$python" .venv; \
		$(UV) export --frozen --all-extras --no-emit-project --quiet --format requirements-txt --output-file .tools/locked.txt; \
		$(UV) pip sync --python .venv --require-hashes .tools/locked.txt; \
		$(UV) pip install --python .venv --no-deps --editable .; \
	fi
	@touch $@

$(UV): Makefile
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
		echo "Expected Python 3.11, 3.12 or 3.13 with pip as python3.13, python3.12, python3.11 or python3; found: $$(python3 --version 2>&1)." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 "$$python" -m pip install --quiet --upgrade --target .tools "uv==$(UV_VERSION)"
	@touch $@
