# One environment in .venv for everything; made again when what it is made from has changed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed

.PHONY: help venv eval test check lock clean

help:
	@echo "make eval    set up, then score the embedded student world-turbo against its teacher (about 10 minutes on 2 cores)"
	@echo "make test    set up, then run the test suite"
	@echo "make check   set up, then ruff, mypy and import-linter"
	@echo "make venv    set up only, in $(VENV)"
	@echo "make lock    write what $(VENV) holds to constraints.txt"
	@echo "make clean   remove $(VENV), caches and built packages; runs/ stays"

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit("Python 3.11 or later is needed; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	"$(PYTHON)" -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	# vbench's own pins cannot be met beside these packages; only its prompts and its tables are used.
	$(PIP) install --no-deps vbench==0.1.5
	touch $@

eval: $(STAMP)
	$(BIN)/turbo-eval vbench --model world-turbo --against world-teacher

test: $(STAMP)
	$(BIN)/pytest

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(STAMP)
	(head -n 1 constraints.txt; $(PIP) freeze --all --exclude-editable --exclude vbench --exclude pip) > $(VENV)/lock
	mv $(VENV)/lock constraints.txt
	touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info
	find turbo_eval turbo_train tests -name __pycache__ -type d -prune -exec rm -rf {} +
