# make quickstart   install everything, run the main job on real weights and texts
# make test         install everything, run every check and test
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install quickstart test lint types docs unit lock clean

quickstart: install
	$(BIN)/intarsia quickstart --output runs/quickstart

test: install lint types docs unit

install: $(INSTALLED)

$(INSTALLED): requirements.lock requirements-uv.lock requirements-torch-cpu.lock assets.txt pyproject.toml tools/install.sh
	PYTHON=$(PYTHON) tools/install.sh
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

unit: install
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

# Writes the lock files anew after a dependency in pyproject.toml changed.
lock:
	tools/lock.sh

clean:
	rm -rf .venv site runs .mypy_cache .pytest_cache .ruff_cache .hypothesis
