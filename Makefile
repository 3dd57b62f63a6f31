# The two commands to know: `make demo` installs and runs the main job on synthetic people; `make test` installs and tests.

VENV    ?= .venv
BASE    ?= python3
PY      := $(VENV)/bin/python
STAMP   := $(VENV)/.installed
DEMO    ?= demo
PICTURES ?= build/pictures
THREADS ?= $(shell nproc 2>/dev/null || echo 2)
# The tests' networks are small and take one thread each; what waits for a process leaves its core to another test.
PYTEST  := $(PY) -m pytest -q -n $(THREADS) --maxprocesses 8 --dist worksteal

WHEELS  := annotated-types|defusedxml|mypy_extensions|pandera|pydantic|pydantic_core|pytest-socket|typeguard|typing-inspect|typing-inspection|typing_extensions

# Where it is set, every test process compiles pytest's plugins and the tests once more: half a minute of each on a slow machine.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo pictures docs lint test test-slow torture mutate bench bench-long device clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

# pip compiles with one core, compileall with all; a file of another Python that does not compile is never imported.
# timm needs torchvision. One that was not made for the torch at hand breaks other packages, so both lie aside, for the tests of timm.
$(STAMP): setup.cfg constraints.txt pyproject.toml
	@test -x $(PY) || $(BASE) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	$(PY) -m pip install --quiet --constraint constraints.txt --no-deps --no-compile --upgrade --target $(VENV)/timm timm torchvision
	-@$(PY) -m compileall -qq -j 0 $(VENV)
	@touch $@

install: $(STAMP)  ## Make a virtual environment in .venv and install everything into it.

demo: $(STAMP)  ## Draw 60 people, prepare them, train both methods on one fold, print the table.
	bash benchmarks/demo.sh $(VENV)/bin $(DEMO) $(THREADS)

pictures: $(STAMP)  ## Draw the two pictures of the read-me into build/pictures (a few minutes).
	bash benchmarks/pictures.sh $(VENV)/bin $(PICTURES) $(THREADS)

lint: $(STAMP)  ## Check the style.
	$(VENV)/bin/ruff check .

docs: $(STAMP)  ## Build the documentation into build/docs; a warning is an error.
	$(VENV)/bin/sphinx-build -q -E -W --keep-going -b html docs build/docs
	@echo build/docs/index.html

test: $(STAMP)  ## Run the tests (a few minutes).
	$(PYTEST)

test-slow: $(STAMP)  ## Run the longer tests: fault injection, a browser, the documentation.
	$(PYTEST) -m 'slow and not torture' --timeout 900

torture: $(STAMP)  ## Run the longest tests: full-size trees, benchmarks (an hour and more).
	$(PY) -m pytest -q -m torture --timeout 7200

mutate: $(STAMP)  ## Break the code line by line and expect red tests.
	$(PY) tests/mutate.py

bench: $(STAMP)  ## Measure the speed of everything beside its rivals: one table (half an hour, 3 GB of disk; leave the machine alone).
	$(PY) -m benchmarks.table --write 'benchmarks/results/speed-{processor}'

bench-long: $(STAMP)  ## The same with more rounds, up to 60,600 frames, clips, torchrun, bf16 beside fp32, the demo (hours, 20 GB of disk; in parts: interrupted, it goes on).
	$(PY) -m benchmarks.table --size long --write 'benchmarks/results/speed-long-{processor}' --resume

device: $(STAMP)  ## Prepare build/device: what `python3 -m benchmarks.device` needs on a machine with a GPU and no network.
	$(PY) -m benchmarks.device --prepare
	grep -E '^($(WHEELS))==' constraints.txt > build/device/wheels.txt
	$(PY) -m pip download --quiet --no-deps --only-binary :all: --python-version 3.12 -r build/device/wheels.txt --dest build/device/wheels
	@du -sh build/device

clean:  ## Remove what make made; data and runs stay.
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
