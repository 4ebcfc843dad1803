# Four things to do here: run it, test it, check it, lock its requirements.
PORT ?= 8000
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.requirements-installed

.DEFAULT_GOAL := help
.PHONY: help setup run test screenshots bench bench-quick chaos drill lint format lock

help:
	@echo "make run [PORT=8000]   everything, on an embedded PostgreSQL (or on DATABASE_URL)"
	@echo "make test              the whole test suite, on a throwaway PostgreSQL"
	@echo "make setup             only the virtual environment, at .venv"
	@echo "make lint              ruff, mypy, import-linter, missing migrations"
	@echo "make screenshots       the pictures of docs/desk.md, by Chromium"
	@echo "make bench             every workload beside plain psycopg (minutes); bench-quick for a first look"
	@echo "make chaos             the campaign of kills and restarts, with its judge (SECONDS=120, SEED=n)"
	@echo "make drill             back up, destroy, restore to a point in time, and judge (ORDERS=1000)"
	@echo "make format            ruff, writing"
	@echo "make lock              requirements.in -> requirements.txt, with hashes (needs uv)"

setup: $(STAMP)

# The stamp is written last: an interrupted installation is started again.
$(STAMP): requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 on PATH: install one, or name it with make PYTHON=/path/to/python." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "$(PYTHON) cannot make a virtual environment at .venv: install its venv module (on Debian: apt-get install python3-venv)." >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $(STAMP)

run: $(STAMP)
	@exec $(BIN)/python -m settings.supervisor --port $(or $(PORT),8000)

test: $(STAMP)
	@exec $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

screenshots: $(STAMP)
	@rm -rf docs/desk && $(BIN)/python -m pytest tests/browser -n 0 -q --screenshots docs/desk
	@cd docs/desk && ls | grep -v -E '^(start|subscriptions|rebuilding|dead-letters|dead-letter|time-line|correlation)-' | xargs rm -f

bench: $(STAMP)
	@exec $(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

bench-quick: $(STAMP)
	@exec $(BIN)/python -m tests.benchmarks --quick $(BENCH_ARGS)

SECONDS ?= 120
chaos: $(STAMP)
	@exec $(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

ORDERS ?= 1000
drill: $(STAMP)
	@exec $(BIN)/python -m tests.drill --orders $(ORDERS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	@# It compares models with files; that no server runs to be asked what it has is no news.
	$(BIN)/python -W "ignore:Got an error checking a consistent:RuntimeWarning" manage.py makemigrations --check --dry-run --settings settings.test

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links
lock: export UV_CUSTOM_COMPILE_COMMAND = make lock
lock:
	$(LOCK) requirements.in --output-file requirements.txt
	$(LOCK) requirements-dev.in --constraint requirements.txt --output-file requirements-dev.txt
