# What a newcomer can guess. Everything runs in .venv, which the first target that needs it makes.
# Needs Python 3.11 - 3.13 and make; nothing else. `make` alone lists the targets.

VENV ?= .venv
export VENV
BIN := $(VENV)/bin

# Arguments for pytest: make test ARGS="tests/unit/test_imports.py -x"
ARGS ?=
# Parallel test processes; 0 runs all in one.
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint fix bench faults fuzz oracle-proof oracles record up down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

install: ## make .venv ready for development
	@scripts/install.sh dev

demo: ## install what revet needs and run the story (two minutes, nothing beside Python)
	@scripts/install.sh run
	@$(BIN)/revet demo

test: install ## all tests that need no server
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

oracle-proof: install ## all signed cases put before the real tools (needs `make oracles`, some five minutes)
	@REVET_ORACLE_PROOF=full REVET_REQUIRE=cosign,notation,registry $(BIN)/python -m pytest -q tests/integration/test_oracle_agreement.py --timeout 3600 $(ARGS)

up: ## (not yet) local Kafka and Elasticsearch for the clustered mode
	@echo "make up: the clustered mode is not part of this version, so there are no servers to start." >&2
	@echo "What exists: 'make demo', '$(BIN)/revet run' (one process, nothing beside Python), or 'docker compose up'." >&2
	@exit 2

down: ## (not yet) stop what `make up` started
	@echo "make down: 'make up' starts nothing yet, so there is nothing to stop." >&2
	@echo "What exists: 'docker compose down' ends what 'docker compose up' started." >&2
	@exit 2

clean: ## remove .venv and caches, keep state files
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
