# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out/quickstart
TEST_OPTIONS ?=

.PHONY: help quickstart test test-slow lint format types docs notebooks package bench-env clean

help:
	@echo "make quickstart  install into $(VENV) and run the main job; results in $(OUT)"
	@echo "make test        install into $(VENV) and run the tests"
	@echo "make test-slow   the tests that take minutes"
	@echo "make package     sdist and wheel in dist, checked"
	@echo "make lint types  ruff (lint and format) and mypy"
	@echo "make docs        the documentation site, in out/docs"
	@echo "make notebooks   run the notebooks and store their outputs in them"
	@echo "make bench-env   other packages that benchmarks compare with, in .venvs"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.quickstart: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[text,plot]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.quickstart

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

quickstart: $(VENV)/.quickstart
	$(BIN)/coala-jax quickstart --out $(OUT)

# A file of tests stays in one process, which compiles once what its tests share. With
# TEST_OPTIONS=--cov they take a third more time and say what they have covered.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

test: $(VENV)/.dev
	$(PYTEST) --durations=25 $(TEST_OPTIONS)

test-slow: $(VENV)/.dev
	$(PYTEST) -m slow --durations=25

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy

# Every warning is an error: a link that leads nowhere, a docstring that does not parse. No network.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs out/docs

notebooks: $(VENV)/.dev
	$(BIN)/python -m tools.run_notebooks

# Environments of their own for the packages that benchmarks compare with: solvers, and TRL, whose ORPO
# may change with any version. jaxcld and pyscnn pin or pull far more than their solvers import
# (transformers, torchvision, ...), hence --no-deps; pip then warns about what is missing. pyscnn
# imports torch but computes in numpy on CPUs.
bench-env: $(VENV)/.dev .venvs/bench-jaxcld/.ready .venvs/bench-scnn/.ready .venvs/bench-trl/.ready

.venvs/bench-jaxcld/.ready: Makefile
	$(PYTHON) -m venv .venvs/bench-jaxcld
	.venvs/bench-jaxcld/bin/python -m pip install --quiet --no-deps jaxcld==0.2.4
	.venvs/bench-jaxcld/bin/python -m pip install --quiet jax numpy scipy
	touch $@

.venvs/bench-scnn/.ready: Makefile
	$(PYTHON) -m venv .venvs/bench-scnn
	.venvs/bench-scnn/bin/python -m pip install --quiet --no-deps pyscnn==0.0.10
	.venvs/bench-scnn/bin/python -m pip install --quiet torch==2.13.0 numpy scipy cvxpy \
		scikit-learn typing_extensions tqdm opt_einsum linalg_backends
	touch $@

.venvs/bench-trl/.ready: Makefile
	$(PYTHON) -m venv .venvs/bench-trl
	.venvs/bench-trl/bin/python -m pip install --quiet torch==2.13.0 trl==1.16.0 peft
	touch $@

# What an index would get: the wheel is made of the sdist, so that both are whole.
package: $(VENV)/.dev
	rm -rf dist build
	$(BIN)/python -m build --outdir dist . >/dev/null
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
