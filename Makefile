# The habits of the house; each is what CI runs too.
PYTHON ?= .venv/bin/python

.PHONY: check format test slow schema wheel

check:  ## lint, format, types, schema
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyright
	$(PYTHON) tools/make_schema.py >/dev/null && git diff --exit-code configs/schema.json

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test:
	$(PYTHON) -m pytest

slow:  ## the proofs that take minutes
	$(PYTHON) -m pytest -m slow

schema:
	$(PYTHON) tools/make_schema.py

wheel:
	$(PYTHON) -m build --wheel
