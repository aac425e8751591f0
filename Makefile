# What can be done with this checkout. Needs Python 3.11 or later and make; everything else goes into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ROOMS  := schemas producers processors agent dashboard
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# In a virtual environment pip's advice about root helps nobody.
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help demo up kafka up-kafka install test simulate check format links lock clean

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

demo: $(STAMP)  ## install into .venv and watch the demo runs
	@$(BIN)/ledgent demo

up: $(STAMP)  ## run worker, processors and dashboard; stop with Ctrl-C
	@$(BIN)/ledgent up

kafka: $(STAMP)  ## run an Apache Kafka broker on 127.0.0.1:9092, data in .ledgent/kafka; stop with Ctrl-C
	@$(BIN)/python -m tests.kafka.broker .ledgent/kafka 9092

# Processors and all the rest beside the broker, which stays until they have left.
up-kafka: $(STAMP)  ## as `up`, over a Kafka broker with Faust processors; stop with Ctrl-C
	@LEDGENT_STORE=chdb:///.ledgent/kafka/store $(BIN)/python -m tests.kafka.broker .ledgent/kafka 9092 sh -c \
		'$(BIN)/ledgent topics create && { $(BIN)/ledgent processors & $(BIN)/ledgent up --agents ledgent.dashboard.demo.agents; wait; }'

install: $(STAMP)  ## install into .venv, exactly as requirements.lock says

test: $(STAMP)  ## run every test
	@$(BIN)/pytest -n 2 --dist worksteal

simulate: $(STAMP)  ## play 20,000 simulated days full of faults; SEED=n plays one and prints it
	@$(BIN)/python -m tests.simulation.simulated_days $(or $(SEED),0 20000)

check: $(STAMP) links  ## the gate: format, lint, types, house rules, fast tests
	@$(BIN)/ruff format --check --quiet . || { echo "Some files are not formatted: run \`make format\`."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -n 3 --dist worksteal -q -m "not slow and not browser"

format: $(STAMP)  ## format, and mend what ruff can mend
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

# mypy and editors read the rooms through these, under the names that they have when installed.
links:  ## renew .links, the rooms under their installed names
	@mkdir -p .links/ledgent
	@for room in $(ROOMS); do ln -sfn ../../$$room .links/ledgent/$$room; done

# Locked on the oldest Python, because newer ones need fewer packages, never more. Everything is taken anew.
lock:  ## renew requirements.lock from pyproject.toml (Python 3.11)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "The lock file is made with Python 3.11, the oldest supported: make lock PYTHON=python3.11"; exit 1; }
	@rm -rf $(VENV)-lock
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --quiet --upgrade pip
	@PYTHONWARNINGS=ignore $(VENV)-lock/bin/python -m pip install --quiet -e '.[dev]'
	@{ echo "# Every package that make installs, to the version; for Python 3.11 and later. Renewed by: make lock"; \
		$(VENV)-lock/bin/python -m pip freeze --all --exclude-editable --exclude pip; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@rm -rf $(VENV)-lock

clean:  ## remove what make has made; recorded runs in .ledgent stay
	@rm -rf $(VENV) $(VENV)-lock .links build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --no-deps: nothing comes in that is not locked; `pip check` says so if the lock is not whole.
$(STAMP): requirements.lock pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "ledgent needs Python 3.11 or later, and \`$(PYTHON)\` is not: name one that is, as in: make PYTHON=python3.12 demo"; exit 1; }
	@echo "Installing the locked dependencies into $(VENV) (once, a minute or two) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --quiet --no-deps -r requirements.lock
	@PYTHONWARNINGS=ignore $(PIP) install --quiet --no-deps --no-build-isolation -e .
	@$(PIP) check --quiet
	@touch $@
