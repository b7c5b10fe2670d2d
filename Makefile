# Everything a person needs, by name. Each target sets up what it needs in .venv (with uv when it is there, else with pip).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
PYTEST_ARGS ?=
SIDE_BY_SIDE := -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2) --maxprocesses 4 --dist loadfile
S3_TESTS := tests/extract tests/surface tests/quarter tests/test_taskgroups.py tests/test_example_dags.py
WITH_SLOW := -m "not conformance and not ui and not dbt"
SCALE_NEEDS := apache-airflow-providers-celery apache-airflow-providers-redis asyncpg psycopg2-binary

.DEFAULT_GOAL := help
.PHONY: help demo up test slow-test localorg-test client-suites kill-test chaos s3-test sample-test dbt-test stack-test scale-test sync-test conformance bench soql-differential fuzz lint format clean quarter quarter-reconcile reconcile-test quarter-load load-kill-test docs build test-matrix ui-test

help:  ## list the targets
	@printf 'airflow-sfcc: Salesforce extracts for Apache Airflow\n\n'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml localorg/pyproject.toml constraints.txt dev/bootstrap.py
	@$(PYTHON) dev/bootstrap.py --fresh
	@touch $@

demo: $(READY)  ## run the nightly extract in a real Airflow against a local Salesforce org, and show what landed
	@$(BIN)/python -m dev.demo

up: $(READY)  ## start Airflow with its UI and a local Salesforce org, until Ctrl-C
	@$(BIN)/python -m dev.up $(UP_ARGS)

test: lint  ## check style and types, and run the tests
	@echo "==> Tests, two more at a time than there are cores, since many of them wait (at most 4)"
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

slow-test: $(READY)  ## what is left out of `make test` since it takes long: lost databases, killed workers, more seeds and stores
	@echo "==> Slow tests (ten minutes or so)"
	@$(BIN)/python -m pytest -m "slow and not conformance and not ui and not dbt" $(SIDE_BY_SIDE) $(PYTEST_ARGS)

conformance: $(READY)  ## read the local org with clients that others wrote: simple-salesforce, jsforce, Airbyte, Singer, curl
	@$(BIN)/python -m tests.conformance.environments
	@echo "==> Other people's clients against the local org"
	@$(BIN)/python -m pytest -m "conformance or not conformance" tests/conformance $(PYTEST_ARGS)

dbt-test: $(READY)  ## dbt's own parse, source freshness and test on the catalog of what landed (installs dbt-core with dbt-duckdb)
	@$(BIN)/python -m tests.conformance.environments dbt
	@echo "==> dbt on landed data"
	@$(BIN)/python -m pytest -m dbt tests/catalog $(PYTEST_ARGS)

quarter: $(READY)  ## 90 nights of incremental extracts while records change; the current table is checked after each (SEEDS=5)
	@$(BIN)/python -m tests.quarter --seeds $(or $(SEEDS),5) --first-seed $(or $(FIRST_SEED),1) --nights $(or $(NIGHTS),90)

quarter-reconcile: $(READY)  ## the same, with formulas and roll-ups that are read again, and a proof against the org, each night (SEEDS=5)
	@$(BIN)/python -m tests.quarter --seeds $(or $(SEEDS),5) --first-seed $(or $(FIRST_SEED),1) --nights $(or $(NIGHTS),90) --refresh --reconcile

reconcile-test: $(READY)  ## one wrong record of each kind among a million, found and healed with at most 30 calls each (ROWS=1000000)
	@$(BIN)/python -m tests.reconcile --rows $(or $(ROWS),1000000)

quarter-load: $(READY)  ## whole quarters loaded into Delta (disk and S3), DuckDB and PostgreSQL, every mode, checked night by night (NIGHTS=90 SEEDS=1,2,3,4,5)
	@NIGHTS=$(or $(NIGHTS),90) SEEDS=$(or $(SEEDS),1,2,3,4,5) $(BIN)/python -m pytest $(WITH_SLOW) -o timeout=36000 tests/load/test_quarter.py $(PYTEST_ARGS)

load-kill-test: $(READY)  ## kill and stop loads at 50 random times for each kind of table, and load in 60 random orders
	@KILLS=50 ORDERS=60 $(BIN)/python -m pytest $(WITH_SLOW) tests/load/test_killed.py tests/load/test_any_order.py $(PYTEST_ARGS)

stack-test: $(READY)  ## bring up the stack of docker-compose.yaml, run its DAGs, check the bucket, take it down
	@$(BIN)/python -m dev.stack_test

scale-test: $(READY)  ## 5 million rows by the task group on Celery workers, one killed (needs redis-server and postgresql; ROWS=…)
	@$(PYTHON) dev/bootstrap.py $(SCALE_NEEDS:%=--with %)
	@$(BIN)/python -m dev.scale_test --rows $(or $(ROWS),5000000)

sync-test: $(READY)  ## a whole org of 800 objects, two nights in a real Airflow, of which the second is to be cheap (half an hour; OBJECTS=800)
	@$(BIN)/python -m dev.sync_test --objects $(or $(OBJECTS),800)

s3-test: $(READY)  ## land every test's files in an S3-compatible server, not on the disk (TESTS=...; make test does so with some)
	@TEST_STORAGE=s3 $(BIN)/python -m pytest $(WITH_SLOW) $(or $(TESTS),$(S3_TESTS)) $(SIDE_BY_SIDE) $(PYTEST_ARGS)

sample-test: $(READY)  ## install the built wheel in an environment of its own and run the sample project's tests there
	@$(BIN)/python -m tests.sample_from_wheel

localorg-test: $(READY)  ## install the local org where there is no Airflow, and run its own tests there (TESTS=tests/test_server.py for some)
	@$(BIN)/python -m tests.localorg_alone $(TESTS) $(PYTEST_ARGS)

client-suites: $(READY)  ## jsforce's and django-salesforce's own tests against the local org (SOURCES=folder with their checkouts)
	@test -n "$(SOURCES)" || { echo "make client-suites SOURCES=folder, which holds checkouts named jsforce and django-salesforce"; exit 1; }
	@$(BIN)/python -m tests.client_suites --sources "$(SOURCES)"

soql-differential: $(READY)  ## check the local org's SOQL: its parser against soql-parser-js, its results against Python
	@$(BIN)/python -m tests.conformance.environments soql-parser-js
	@echo "==> Thousands of generated queries"
	@$(BIN)/python -m pytest -m "conformance or not conformance" tests/conformance/test_soql_parser.py localorg/tests/soql_judge $(PYTEST_ARGS)

kill-test: $(READY)  ## kill workers (SIGKILL) at 100 random points of their extracts, and check what their retries land
	@KILLS=50 $(BIN)/python -m pytest $(WITH_SLOW) tests/surface/test_killed.py

chaos: $(READY)  ## kill, pause and break extracts by seeds, and check what lands (ROUNDS=6 CAMPAIGN= STORAGE= SEED= BROKEN=)
	@$(BIN)/python -m tests.chaos --rounds $(or $(ROUNDS),6) --seed $(or $(SEED),1) $(if $(CAMPAIGN),--campaign $(CAMPAIGN)) \
	  $(if $(STORAGE),--storage $(STORAGE)) $(if $(SHAPE),--shape $(SHAPE)) $(if $(BROKEN),--broken $(BROKEN))

bench: $(READY)  ## measure ours beside the peers on the same pages (about 20 minutes; BENCH_ARGS="--only bulk/" for some)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

ui-test: $(READY)  ## drive the UI of `make up` with a headless Chromium; screenshots go to tests/ui/screenshots
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  { echo "make ui-test needs Chromium or Chrome; on Debian: apt-get install chromium"; exit 1; }
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(PYTHON) dev/bootstrap.py --extra ui-test
	@echo "==> A browser against Airflow and a local org (three minutes or so)"
	@$(BIN)/python -m pytest -m ui -x tests/ui $(PYTEST_ARGS)

docs: $(READY)  ## run the code in docs/ and README.md, check their links, and build the site into .site, without a warning
	@$(BIN)/python -m pytest -q tests/test_docs.py tests/test_setup_guide.py
	@$(BIN)/python -c 'import mkdocs, material, mkdocstrings' 2>/dev/null || $(PYTHON) dev/bootstrap.py --extra docs
	@echo "==> The site, with the API reference"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "==> .site/index.html"

build: $(READY)  ## build wheels and source distributions of both packages into dist/, and try each where nothing else is
	@$(BIN)/python -m dev.build

test-matrix:  ## run the engine's and the surface's tests and the example DAGs on Airflow 3.1 to 3.3 with Python 3.10 to 3.13 (CORNERS=..., TESTS=...)
	@SIDE_BY_SIDE="$(SIDE_BY_SIDE)" $(PYTHON) tests/matrix.py

fuzz: $(READY)  ## send the local org, and the client, nonsense of every kind: no 500, no hang, errors of ours only (FUZZ_EXAMPLES=4000 of each)
	@FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),4000) $(BIN)/python -m pytest -o timeout=36000 localorg/tests/test_wire_nonsense.py tests/salesforce/test_fuzz.py $(PYTEST_ARGS)

lint: $(READY)  ## check style and types
	@echo "==> Style"
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check .
	@echo "==> Types"
	@$(BIN)/mypy

format: $(READY)  ## format the code
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .

clean:  ## remove .venv, caches and what the demo left
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dev/landing dev/airflow dev/org dev/.running .conformance .bench .site dist tests/ui/screenshots
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
