# Everything a developer or CI runs. `make` alone lists it. Needs Python 3.11 to 3.13 with pip, and nothing else:
# the first target that wants the environment builds .venv from uv.lock with a uv of its own (.tools).

# Pinned, so that the same pyproject.toml gives the same uv.lock everywhere.
UV_VERSION := 0.13.9
CHECKOV_VERSION := 3.3.30
WORKERS ?= 2

# `make image`: any tool that builds a Dockerfile, and what to hand it, e.g. IMAGE_ARGS='--build-arg BASE_IMAGE=… --build-arg INDEX_URL=…'.
CONTAINER_TOOL ?= $(shell for tool in docker buildah podman; do command -v $$tool >/dev/null && echo $$tool && break; done)
IMAGE ?= feature-platform:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE_ARGS ?=

# The first interpreter that is new enough, old enough, has pip, and really runs (a version manager's shim may not). Asked only when needed.
PYTHON = $(shell for candidate in python3.13 python3.12 python3.11 python3; do \
	$$candidate -c 'import sys, pip; assert (3, 11) <= sys.version_info[:2] < (3, 14); print(sys.executable)' 2>/dev/null && break; done)

UV := .tools/bin/uv
ENVIRONMENT := .venv/.installed
RUN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
unexport VIRTUAL_ENV
# Where it is set, every process compiles all that it imports again: Dagster's definitions load in 7 s instead of 2, hundreds of times in a suite.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo dev up down test test-spark spark check bench-build bench-compute bench-validate bench-online bench-serve bench-training bench-growth bench faults image e2e policy graph screenshots values-readme clean
.SUFFIXES:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

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
	$(RUN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(ENVIRONMENT) ## what CI runs everywhere: lint, format, types, import contracts, tests
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(MAKE) test

# The Spark of the client that uv.lock pins.
SPARK := $(CURDIR)/.tools/spark/pyspark

test-spark: spark ## hold days validated and features computed by Spark on Java 17 to the same bits
	SPARK_HOME=$(SPARK) SPARK_EXAMPLES=$${SPARK_EXAMPLES:-40} $(RUN)/pytest tests/contract/test_spark_engine.py tests/contract/test_spark_validation.py -n 0 --timeout 0 -o faulthandler_timeout=0

spark: $(ENVIRONMENT) ## download the Spark that test-spark and bench-compute use, 490 MB, into .tools; needs Java 17
	@java -version 2>&1 | grep -qE 'version "(1[7-9]|[2-9][0-9])' || { echo "Expected Java 17 or later as java; install it, or rely on make test, which uses Sail." >&2; exit 1; }
	@version=$$($(RUN)/python -c 'from importlib.metadata import version; print(version("pyspark-client"))'); place=.tools/spark-$$version; \
	test -d $$place || { $(PYTHON) -m pip install --quiet --no-deps --target $$place.part "pyspark==$$version" py4j && mv $$place.part $$place; } && \
	ln -sfn spark-$$version .tools/spark

bench-build: $(ENVIRONMENT) ## time building and writing features against bare tools
	$(RUN)/python -m tests.benchmarks.bench_build

bench-compute: $(ENVIRONMENT) ## time versions from tiles against reading events, and builds of 1, 10 and 100 million events; by Spark too, after test-spark
	$(if $(wildcard .tools/spark),SPARK_HOME=$(SPARK)) $(RUN)/python -m tests.benchmarks.bench_compute

bench-validate: $(ENVIRONMENT) ## time validating raw events against bare DuckDB
	$(RUN)/python -m tests.benchmarks.bench_validate

bench-growth: $(ENVIRONMENT) ## count what a log of 10,000 records costs a fresh process, against one of 10
	$(RUN)/python -m tests.benchmarks.bench_growth

bench-online: $(ENVIRONMENT) ## time loading and reading online features against stock Feast
	$(RUN)/python -m tests.benchmarks.bench_online

bench-serve: $(ENVIRONMENT) ## time the feature server against feast serve; needs wrk
	$(RUN)/python -m tests.benchmarks.bench_serve

bench-training: $(ENVIRONMENT) ## time making a training set against a query by hand and Feast
	$(RUN)/python -m tests.benchmarks.bench_training

bench: $(ENVIRONMENT) ## every benchmark, one after the other (hours); bench-serve needs wrk
	for name in build compute validate growth online serve training; do $(MAKE) bench-$$name || exit 1; done

# Files outside of tests/faults that try more where FAULTS says full.
CAMPAIGNS := tests/contract/test_compute_engine.py tests/integration/test_feast_serving.py tests/server/test_fuzz.py \
	tests/training/test_leakage.py tests/unit/test_compile.py
faults: $(ENVIRONMENT) ## the fault campaigns in full: a million simulated schedules, then everything against real servers (more than an hour)
	rm -f build/figures/faults.json
	FAULTS=full $(RUN)/pytest tests/faults/test_simulation.py -n $(WORKERS) --dist load --timeout 0 -o faulthandler_timeout=0
	FAULTS=full $(RUN)/pytest tests/faults $(CAMPAIGNS) --ignore tests/faults/test_simulation.py -n $(WORKERS) --dist loadfile --timeout 0 -o faulthandler_timeout=0
	$(RUN)/python -m tests.faults.figures

policy: $(ENVIRONMENT) ## checkov over every environment of the Helm chart and its run pods
	$(RUN)/python -m deploy.helm.policy $(UV) tool run --python $(RUN)/python --from "checkov==$(CHECKOV_VERSION)" checkov

graph: $(ENVIRONMENT) ## write the reviewed text of the asset graph, tests/orchestration/graph.txt
	$(RUN)/python -W ignore -m tests.support.graph_text

screenshots: $(ENVIRONMENT) ## write the documents' screenshots, by the browser's tests; needs Chromium
	SCREENSHOTS=docs/images $(RUN)/pytest tests/integration/test_ui.py -n 0 -p no:randomly

values-readme: $(ENVIRONMENT) ## write the Helm chart's README from the comments of its values.yaml
	$(RUN)/python deploy/helm/values_readme.py

image: ## build the container image, by $CONTAINER_TOOL (docker, buildah or podman)
	@test -n "$(CONTAINER_TOOL)" || { echo "Expected docker, buildah or podman; found none. Install one, or name one: make image CONTAINER_TOOL=…" >&2; exit 1; }
	BUILDAH_LAYERS=true $(CONTAINER_TOOL) build $(IMAGE_ARGS) --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
		--tag $(IMAGE) --file deploy/docker/Dockerfile .

# Archives for clusters that cannot pull. Docker and podman save by one command, buildah pushes to an archive.
E2E_SERVERS := postgres valkey seaweedfs
e2e-images: image ## the platform's image and the servers of the end-to-end test, as archives in build/images
	@mkdir -p build/images
	for server in $(E2E_SERVERS); do \
		BUILDAH_LAYERS=true $(CONTAINER_TOOL) build $(IMAGE_ARGS) --target $$server --tag feature-platform-e2e-$$server:1 \
			--file deploy/e2e/images/Dockerfile . || exit 1; \
	done
	for image in $(IMAGE) $(E2E_SERVERS:%=feature-platform-e2e-%:1); do \
		archive=build/images/$$(echo $$image | tr ':/' '__').tar; rm -f $$archive; \
		case "$(notdir $(CONTAINER_TOOL))" in \
			buildah) buildah push --quiet localhost/$$image docker-archive:$$archive:$$image ;; \
			*) $(CONTAINER_TOOL) save --output $$archive $$image ;; \
		esac || exit 1; \
	done

e2e: $(ENVIRONMENT) ## the whole platform on the cluster of $KUBECONFIG (docs/deploy.md says what it needs) → build/figures/e2e.json
	$(RUN)/pytest deploy/e2e -p no:randomly -p no:xdist --exitfirst --timeout 0 -o faulthandler_timeout=0 -rs

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
