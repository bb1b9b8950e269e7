# The commands a contributor runs. `make check` is what CI runs.
PYTHON ?= python

.PHONY: install check lint types test test-all train teacher benchmark

install:
	$(PYTHON) -m pip install -r requirements-test.txt

check: lint types test-all

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -m "not slow"

test-all:
	$(PYTHON) -m pytest

train:
	$(PYTHON) tools/train.py -c configs/det_cml.yml

teacher:
	$(PYTHON) tools/train.py -c configs/det_teacher.yml
