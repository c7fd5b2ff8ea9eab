# `make demo` and `make test` do all their own set-up; see deploy/local/setup.sh.
.DEFAULT_GOAL := help
.PHONY: help setup demo check test explore attack lint bench up down lock clean

PYTHON := .venv/bin/python
# The clone is put on the path, not installed: clones with the same pins share one environment.
export PYTHONPATH := $(CURDIR)

# The processes of a run share the processors, and threads that wait for each other would spin on them.
test check attack: export OMP_NUM_THREADS ?= 1
# What pytest makes of the tests' files is kept for the next run: it takes longer than reading them.
test check lint: export PYTHONDONTWRITEBYTECODE :=

# What only reads the sources and the pages is run with lint, and not again with the tests.
WORDING := $(addprefix tests/unit/,test_docs.py test_docs_kept.py test_imports.py test_services_page.py)
BESIDE_WORDING := $(addprefix --ignore=,$(WORDING))

help:
	@echo 'make setup   Python environment, Kafka jars and base model, kept in $${SANO_CACHE_DIR:-~/.cache/sanolith}'
	@echo 'make demo    the whole loop on this machine; writes demo-report.json'
	@echo 'make test    all tests, in three processes; PYTEST_ARGS="-k purge" for some, "-n 0" for one process'
	@echo 'make explore new examples for every test that draws some, 100 times as many; -k in PYTEST_ARGS picks some'
	@echo 'make attack  the attack suite in full; PYTEST_ARGS="--attack-seed 2" draws other attacks'
	@echo 'make check   lint, types and unit tests but the slow ones: before each commit'
	@echo 'make lint    ruff, mypy, and the tests that only read the sources and the pages'
	@echo 'make bench   benchmarks against named peers, and what models answer from documents; BENCH_ARGS="--only NAME" for one'
	@echo 'make up      the local stack (KAFKA=1 for Apache Kafka); make down stops it'
	@echo 'make lock    pin the versions that are installed in .venv'
	@echo 'make clean   remove what was built in this clone; the shared cache and .sano/keys stay'

setup:
	@deploy/local/setup.sh

demo: setup
	@bin/sano demo --report demo-report.json

test: setup
	@$(PYTHON) -m tests.kubernetes.program
	@$(PYTHON) -m pytest -n 3 --no-loadscope-reorder $(BESIDE_WORDING) $(PYTEST_ARGS)

check: lint
	@$(PYTHON) -m pytest -q -n 2 --no-loadscope-reorder -m "not slow" tests/unit $(BESIDE_WORDING) $(PYTEST_ARGS)

explore: setup
	@$(PYTHON) -m pytest -n 2 -m "hypothesis or spread" --hypothesis-profile=explore --timeout 0 tests/unit tests/invariants $(PYTEST_ARGS)

attack: setup
	@$(PYTHON) -m pytest tests/attack --attack full $(PYTEST_ARGS)

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q -n 0 --fail-on-skip $(WORDING)

bench: setup
	@$(PYTHON) -m tests.bench $(BENCH_ARGS)
	@$(if $(BENCH_ARGS),,$(PYTHON) -m tests.answers)

up: setup
	@bin/sano up $(if $(KAFKA),--kafka)

down: setup
	@bin/sano down

lock: setup
	$(PYTHON) -m deploy.local.lock

clean:
	@if [ -e .sano/stack.json ]; then echo 'the local stack is up; run `make down` first' >&2; exit 1; fi
	rm -rf .venv .sano/logs .sano/data .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info demo-report.json test-durations.txt
	find . -name __pycache__ -prune -exec rm -rf {} +
