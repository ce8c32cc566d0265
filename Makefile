# Each target does all set-up from nothing and reuses it the next time.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export MPLBACKEND := Agg

.PHONY: demo test check slow clean

demo: $(READY) ## train, estimate, analyse and draw the tiny preset into runs/demo
	$(VENV)/bin/llc demo --out runs/demo

test: $(READY) ## every test but those marked slow
	$(VENV)/bin/python -m pytest

slow: $(READY) ## the tests marked slow
	$(VENV)/bin/python -m pytest -m slow

check: $(READY) ## format, lint, types, fast tests
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest

$(READY): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

clean: ## remove the environment; runs/ stays
	rm -rf $(VENV)
