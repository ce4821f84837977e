# make setup  once; then make demo, test, lint, notebooks, lab. Everything lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
CATEGORY ?= toybox/washer
SHELL := /bin/bash

.PHONY: help setup demo test lint unit whole browser notebooks check-notebooks mutations cards lab site bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/ready  ## make .venv and install everything into it (minutes; again only when versions change)

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make setup PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lab,dev]'
	touch $@

demo: setup  ## find defects and explain them; CATEGORY=path/to/mvtec/bottle for real images
	$(BIN)/pclib demo "$(CATEGORY)" --out demo

test: lint unit whole browser check-notebooks  ## lint, unit tests, whole runs, explorers in a browser, notebooks

lint: setup  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: setup  ## unit, property and parity tests: two minutes
	$(BIN)/pytest -m "not real and not slow and not browser"

whole: setup  ## whole runs; real categories, if they are at hand, against what the authors' code scores on them
	$(BIN)/pytest -m "(real or slow) and not browser"

browser: setup  ## explorers in a real browser, if Chromium is there
	$(BIN)/pytest -m browser

check-notebooks: setup  ## run the notebooks, two at a time, and compare what they print with what is stored
	$(BIN)/python notebooks/build.py --check
	store=$$(mktemp -d) && trap 'rm -rf "$$store"' EXIT && \
	PCLIB_STORE=$$store $(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 300 \
	    --numprocesses 2 --dist loadscope notebooks

notebooks: setup  ## run all notebooks and store their outputs; a number that is not as before is refused, but with ACCEPT=--accept
	$(BIN)/python notebooks/build.py $(ACCEPT)

mutations: setup  ## alter constants of pclib one at a time: which test notices? (an hour)
	$(BIN)/python tests/mutations.py

cards: setup  ## write data/toybox.md, the data cards of the embedded categories, and their catalogue
	$(BIN)/python -m pclib.toybox.cards > data/toybox.partial && mv data/toybox.partial data/toybox.md
	$(BIN)/pclib toybox catalogue docs/toybox.jpg

lab: setup  ## open JupyterLab on the first notebook
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

site: setup  ## the notebooks and documents as static HTML with search: open site/index.html, no network needed
	rm -rf site
	$(BIN)/python -m sphinx -E -W --keep-going -q -d build/site -c docs . site

bench: setup  ## time pclib beside its peers (as far as they are installed), 35 min; REAL=folder of real categories to add those
	for stage in embedding coreset backbone search whole metrics sweep; do $(BIN)/python benchmarks/$$stage.py || exit 1; done
	$(BIN)/python benchmarks/report.py
	$(if $(REAL),$(BIN)/python benchmarks/real.py $(REAL))
	$(if $(REAL),$(BIN)/python benchmarks/methods.py $(REAL) --toybox)

clean:  ## remove what make made
	rm -rf .venv demo site build .pytest_cache .mypy_cache .ruff_cache .hypothesis
