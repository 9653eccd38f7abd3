# What a newcomer can guess. Everything runs in .venv, which the first target that needs it makes.
# Needs Python 3.11 - 3.13 and make; nothing else. `make` alone lists the targets.

VENV ?= .venv
export VENV
BIN := $(VENV)/bin

# Arguments for pytest: make test ARGS="tests/unit/test_imports.py -x"
ARGS ?=
# Parallel test processes; 0 runs all in one.
JOBS ?= auto

# --full: also the Elasticsearch with API keys (950 MB once), for the few tests that need it.
SERVERS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint fix bench faults fuzz oracle-proof oracles servers record up down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

install: ## make .venv ready for development
	@scripts/install.sh dev

demo: ## install what revet needs and run the story (two minutes, nothing beside Python)
	@scripts/install.sh run
	@$(BIN)/revet demo

test: install servers ## all tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-fast: install ## pure tests only, for while you write
	@$(BIN)/python -m pytest -q -m "not slow and not kill" tests/unit $(ARGS)

lint: install ## ruff, mypy --strict, import rules; all of them, also after one found something
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/ruff format --check . || status=1; \
	$(BIN)/mypy --strict verifier alerting streams dashboards || status=1; \
	$(BIN)/mypy tests || status=1; \
	$(BIN)/python -m pytest -q -p no:randomly tests/unit/test_imports.py || status=1; \
	exit $$status

fix: install ## let ruff mend and format what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: install ## speed and memory, with the ratios they are judged by
	@$(BIN)/python -m tests.bench $(ARGS)

faults: install ## end processes at random instants, the full number of times
	@REVET_FAULTS=full $(BIN)/python -m pytest -m kill --timeout 3600 $(ARGS)

oracles: ## build the real signing tools that tests compare with (needs Go, about ten minutes once)
	@scripts/oracles.sh

record: install ## make the recorded cluster and its images again, with the real tools
	@scripts/record/run.sh

fuzz: install ## mutated inputs to every parser, a million by default (ARGS="--inputs 100000 --target NAME")
	@$(BIN)/python -m tests.fuzz $(ARGS)

servers: install ## fetch what tests start beside revet: Kafka, Elasticsearch (Java, Maven), the image's packages; a minute, once
	@$(BIN)/python -m scripts.servers prepare --if-possible $(SERVERS)
	@PYTHON=$(abspath $(BIN))/python scripts/image.sh cached >/dev/null || [ "$$CI" != true ]

oracle-proof: install ## all signed cases put before the real tools (needs `make oracles`, some five minutes)
	@REVET_ORACLE_PROOF=full REVET_REQUIRE=cosign,notation,registry $(BIN)/python -m pytest -q tests/integration/test_oracle_agreement.py --timeout 3600 $(ARGS)

up: ## Kafka and Elasticsearch on this machine: with `docker compose`, or from their jars where that is not there
	@python="$$(scripts/find-python.sh)" && "$$python" -m scripts.servers up

down: ## stop what `make up` started; data is kept
	@python="$$(scripts/find-python.sh)" && "$$python" -m scripts.servers down

clean: ## remove .venv and caches, keep state files
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
