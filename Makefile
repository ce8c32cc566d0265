# Each target does all set-up from nothing and reuses it the next time.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_DOCS := $(VENV)/.ready-docs
INSTALL := $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable
# Two tests at a time, each on one thread; one that hangs is stopped and named.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist worksteal --timeout 300
export MPLBACKEND := Agg

.PHONY: demo transient-ridge test lint check slow fuzz coverage mutants docs linkcheck clean

demo: $(READY) ## train, estimate, analyse and draw the tiny preset into runs/demo
	$(VENV)/bin/llc demo --out runs/demo

transient-ridge: $(READY) ## the study of docs/transient_ridge.md again, in hours; what is finished is kept
	$(VENV)/bin/llc demo --preset small --out runs/transient_ridge --keep runs/transient_ridge_results

test: $(READY_DEV) ## every test but those marked slow
	$(PYTEST)

slow: $(READY_DEV) ## the tests marked slow
	$(VENV)/bin/python -m pytest -m slow

lint: $(READY_DEV) ## format, lint, types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

check: lint ## format, lint, types, fast tests
	$(PYTEST)

coverage: $(READY_DEV) ## the fast tests, and which lines of llc/ none of them runs
	$(PYTEST) --cov=llc --cov-report=term-missing:skip-covered

mutants: $(READY_DEV) ## how many changes of a line the tests notice, of a sample; an hour
	$(VENV)/bin/python -m pip install --quiet mutmut==3.8.1
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/mutants.py --area predictors --out benchmarks/results/mutants.toml
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/mutants.py --area coefficients --out benchmarks/results/mutants.toml
	OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/mutants.py --area estimator --out benchmarks/results/mutants.toml

fuzz: $(READY_DEV) ## the tests that throw anything at the library, with a hundred times as much of it
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --hypothesis-profile=many tests/test_fuzz_*.py tests/test_invariances.py

docs: $(READY_DOCS) ## the pages, into docs/_build/html; a warning is an error
	$(VENV)/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

linkcheck: $(READY_DOCS) ## whether links of the pages lead anywhere
	$(VENV)/bin/python -m sphinx -q -b linkcheck docs docs/_build/linkcheck

$(READY): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) ".[all]"
	touch $(READY)

$(READY_DEV): $(READY)
	$(INSTALL) ".[dev]"
	touch $(READY_DEV)

$(READY_DOCS): $(READY)
	$(INSTALL) ".[docs]"
	touch $(READY_DOCS)

clean: ## remove the environment; runs/ stays
	rm -rf $(VENV)
