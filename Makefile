# Targets for readers and maintainers; `make` alone lists them.
PYTHON ?= python3
DATASET ?= rendered_flowers
BIN := .venv/bin
INSTALL := $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable
# A path given on the command line is relative to this folder, not to notebooks/.
DATA_DIR := $(if $(filter rendered_flowers,$(DATASET)),$(DATASET),$(abspath $(patsubst ~/%,$(HOME)/%,$(DATASET))))

.PHONY: help setup tutorial smoke notebooks exercises badges lab unit test test-browser \
	site lint clean
.DEFAULT_GOAL := help

help:
	@echo "make tutorial [DATASET=folder]  set up .venv, run all notebooks, print the table"
	@echo "    ARGS='-p image_size 96'     and change notebook parameters"
	@echo "make test                       set up, lint, run all tests"
	@echo "make lab                        open the notebooks in JupyterLab"
	@echo "make site                       the course as pages, in docs/_build/html"
	@echo "make smoke                      run all notebooks on little data, compare numbers"
	@echo "make unit                       only the tests that run no notebook"
	@echo "make test-browser               only the tests of the site and JupyterLab in Chromium"
	@echo "make notebooks                  run the committed notebooks in place"
	@echo "make badges REPO=owner/name     write the repository's address into the notebooks"
	@echo "make exercises                  write the student's and the solution's notebooks"
	@echo "make setup                      only install what the notebooks need, into .venv"
	@echo "make clean                      remove artefacts, not .venv"

setup: .venv/installed

# What the notebooks need; tests, JupyterLab and the site add theirs below.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv: 730 MB to download, 2.6 GB on disk, about 80 s of processor time."
	$(INSTALL) '.[notebooks]'
	@touch $@

# An extra of pyproject.toml, added to .venv: lab, test or site.
.venv/%-installed: .venv/installed
	$(INSTALL) '.[$*]'
	@touch $@

tutorial: setup
	$(BIN)/python notebooks/run.py --data_dir='$(DATA_DIR)' $(ARGS)

# In a folder of its own: it must not replace the results of the tutorial.
smoke: setup
	$(BIN)/python notebooks/run.py --profile=smoke --artifacts_dir=artifacts/smoke --check

notebooks: setup
	$(BIN)/python notebooks/run.py --in_place --refresh_expected
	$(BIN)/python notebooks/run.py --profile=smoke --artifacts_dir=artifacts/smoke \
	  --refresh_expected

badges: .venv/test-installed
	$(BIN)/python notebooks/badges.py $(if $(REPO),--repo='$(REPO)')

exercises: .venv/test-installed
	$(BIN)/python notebooks/exercises/generate.py $(ARGS)

lab: .venv/lab-installed
	$(BIN)/jupyter lab --notebook-dir=notebooks

unit: .venv/test-installed
	$(BIN)/python -m pytest --ignore=tests/notebooks/test_run.py \
	  --ignore=tests/notebooks/test_anywhere.py

test: lint
	$(BIN)/python -m pytest
	$(MAKE) test-browser

# Built from nothing, so that no page of a removed file is left.
site: .venv/site-installed
	rm -rf docs/_build docs/reference
	$(BIN)/sphinx-build -q -W --keep-going -c docs . docs/_build/html
# Without npm or a network the site lacks these pages alone, and a line says why.
	-$(BIN)/python -m edgetpu_lib page --checker --output=docs/_build/html/checker
	-$(BIN)/python -m edgetpu_lib page data/quickstart_quant.tflite --title='Which flower is it?' \
	  --license_name='Apache License 2.0' \
	  --output=docs/_build/html/classifier.html

test-browser: site .venv/test-installed .venv/lab-installed
	$(BIN)/python -m pytest -m browser tests/browser

lint: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf notebooks/artifacts artifacts
