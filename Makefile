# Each target sets up what it needs in .venv, from the lock files and nothing else. PYTHON picks the interpreter.

PYTHON ?= python3
UV     ?= uv
VENV   := .venv
RUN    := $(VENV)/bin/python
PIP    := $(RUN) -m pip --disable-pip-version-check --no-input -q
# Options for the commands: make test ARGS="-k store", make demo ARGS="--base-port 9000".
ARGS   ?=

# Test processes at a time; each starts servers of its own.
JOBS   ?= 2

LOCK = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --extra pkcs11 --extra postgres --extra tracing \
       --generate-hashes --no-emit-index-url --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint bench e2e fuzz docs lock dist clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Start the embedded city, walk a citizen's journey, stay up until Ctrl-C
	@$(VENV)/bin/datenweg demo $(ARGS)

test: $(VENV)/.dev ## Run all tests on SQLite and PostgreSQL (as root on Debian installs what they need)
	@sh tests/tools/debian.sh
	@# The tests of a file in one process, in their order: its gateways and databases are started once. Files in the
	@# order of their names: by their number of tests those with few long ones would come last, and alone.
	@$(RUN) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --ignore tests/e2e $(ARGS)
	@# The browser's tests after all others: two processes share them, each with a city and a browser of its own.
	@# 5 means that ARGS chose none of them.
	@$(RUN) -m pytest -n 2 --dist load tests/e2e $(ARGS) || [ $$? -eq 5 ]

soak: $(VENV)/.dev ## Run the long forms of some tests: 10,000 requests in a race, gigabytes, 100 kills on each database
	@DATENWEG_SOAK_REQUESTS=10000 DATENWEG_SOAK_BYTES=1073741824 DATENWEG_SOAK_KILLS=100 $(RUN) -m pytest \
	  tests/gateway/exchange/test_consent_race.py tests/gateway/exchange/test_large_bodies.py \
	  tests/gateway/message_log/test_kill.py $(ARGS)

lint: $(VENV)/.dev ## Check format, style, types and who imports whom
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy trust audit gateway adapters bench
	@$(VENV)/bin/lint-imports --no-cache

e2e: $(VENV)/.runtime ## Walk the journey once, each node a process, and write report.json
	@$(VENV)/bin/datenweg demo --once --processes --report report.json $(ARGS)

bench: $(VENV)/.dev ## Measure signed exchanges against an unsigned two-hop proxy, then the citizen's pages
	@$(RUN) -m bench $(ARGS)
	@$(RUN) -m bench.pages --if-possible

fuzz: $(VENV)/.fuzz ## Feed the parsers with mutated input for half an hour (ARGS="--seconds 600 trust.ocsp", "--list")
	@$(RUN) -m tests.fuzz $(ARGS)

docs: $(VENV)/.dev ## Check that the documentation names every setting, metric, command and error
	@$(RUN) -m pytest tests/test_docs.py -q $(ARGS)

lock: ## Resolve the dependencies anew (needs uv; the only target that does)
	$(LOCK) --upgrade -q -o requirements.lock
	$(LOCK) --upgrade -q --group dev -o requirements-dev.lock
	$(LOCK) --upgrade -q --group dev --group fuzz -o requirements-fuzz.lock

dist: $(VENV)/.dev ## Build wheel and source archive into dist/
	@$(RUN) -m hatchling build

clean: ## Remove the environment and all caches (never data/)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "Python's venv module is incomplete (on Debian: apt-get install python3-venv)"; rm -rf $(VENV); exit 1; }
	@# The packages run from this checkout; no build is needed for that.
	@site=$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	  && printf '%s\n' '$(CURDIR)' > "$$site/datenweg-checkout.pth"
	@printf '#!/bin/sh\nexec "%s/$(VENV)/bin/python" -m gateway.cli "$$@"\n' '$(CURDIR)' > $(VENV)/bin/datenweg
	@chmod +x $(VENV)/bin/datenweg
	@touch $@

$(VENV)/.runtime: requirements.lock | $(VENV)/.created
	@echo "Installing what Datenweg needs to run ..."
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@touch $@

# The development lock holds everything of the other one, at the same versions.
$(VENV)/.dev: requirements-dev.lock requirements.lock | $(VENV)/.created
	@echo "Installing what tests and checks need ..."
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@ $(VENV)/.runtime

# This one holds everything of the development lock.
$(VENV)/.fuzz: requirements-fuzz.lock requirements-dev.lock requirements.lock | $(VENV)/.created
	@echo "Installing the fuzzer ..."
	@$(PIP) install --require-hashes --no-deps -r requirements-fuzz.lock
	@touch $@ $(VENV)/.dev $(VENV)/.runtime
