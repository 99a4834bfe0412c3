# `make demo` and `make test` need Python >= 3.11, make and a C compiler; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := fakelab fakecore fakegen fakedetect benchmarks tests cli.py

# Real photos and videos of people, and small photographs of many kinds, for `make detectors`.
FACES ?=
PHOTOS ?=

# uv compiles nothing: where Python may not write what it compiled either, each process compiles PyTorch again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: docs demo detectors test lint format speed clean

demo: $(VENV)/.installed
	$(BIN)/python cli.py demo

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

speed: $(VENV)/.installed
	$(BIN)/python -m benchmarks.speed

# The detectors of the package, trained and packed again: hours.
detectors: $(VENV)/.installed
	$(BIN)/python -m fakelab.detectors --faces '$(FACES)' --photos '$(PHOTOS)'

# The site; its tools are installed apart from what the tests need.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	PYTHONPATH=. $(BIN)/python docs/reference/generate.py
	$(BIN)/zensical build --clean --strict

# uv unpacks torch in a fraction of pip's time; where only pip knows the package index, pip installs. The stamp is written
# last, so an install that was cut short is done again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("fakelab needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[dev]' || $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
