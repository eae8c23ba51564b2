# SPDX-License-Identifier: GPL-3.0-or-later
# Every target sets up what it needs itself and is quick when that is there.

# the kiwi to run on, as pip understands it, the newest by default: make test KIWI=kiwi==9.24.61
KIWI ?= kiwi
PYTHON ?= python3
# arguments for pytest, the demo, the benchmark: make unit ARGS='-k layer'
ARGS ?=
PREFIX ?= /usr/local
DESTDIR ?=

# tests wait for disks and tools: one process more than there are cores
PYTEST_XDIST_AUTO_NUM_WORKERS ?= $(shell expr $$(nproc) + 1)

export KIWI PYTHON PYTEST_XDIST_AUTO_NUM_WORKERS

TOX = .venv/bin/tox run -qq
# pytest may be given nothing: tox then takes its default
POSARGS = $(if $(strip $(ARGS)),-- $(ARGS))

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint type doc unit integration bench variant chart matrix vm tutorial soak fleet packages \
	install clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup:  ## System packages where missing, .venv with kiwi and the plugin
	@tools/bootstrap

demo: setup  ## Build a small root, stash it twice, rebuild from the stash
	@.venv/bin/python demo/run.py $(ARGS)

test: setup  ## Everything; ends with pytest's summary
	@$(TOX) -e lint,type,doc
	@$(TOX) -e test $(POSARGS)

lint: setup  ## ruff
	@$(TOX) -e lint $(POSARGS)

type: setup  ## mypy --strict
	@$(TOX) -e type $(POSARGS)

doc: setup  ## Documentation and manual pages in doc/build
	@$(TOX) -e doc

unit: setup  ## Tests on trees in temporary directories, with coverage
	@$(TOX) -e unit $(POSARGS)

integration: setup  ## Tests with the real tools
	@$(TOX) -e integration $(POSARGS)

bench: setup  ## Measure against other ways, in the same run
	@bench/run $(ARGS)

variant: setup  ## Measure one variant from the base to the registry, step by step
	@bench/variant $(ARGS)

chart: setup  ## Draw what make variant ARGS=--add=bench/results.json has measured
	@.venv/bin/python -m pip install -q --disable-pip-version-check matplotlib
	@.venv/bin/python bench/chart $(ARGS)

matrix: setup  ## The same tests on other versions of kiwi, and roots by each package manager
	@tools/system-packages matrix
	@test/matrix/run $(ARGS)

vm: setup  ## From a container to a booting machine
	@tools/system-packages vm
	@.venv/bin/python test/vm/run.py $(ARGS)

soak: setup  ## A thousand kills, 500 power cuts, ten minutes of fuzzing
	@tools/system-packages soak
	@test/soak/run $(ARGS)

fleet: setup  ## Many images from one base: by a matrix, a loop, kiwi 11's own commands
	@test/fleet/run $(ARGS)

tutorial: setup  ## The tutorial's own commands, until the machine asks for a login
	@tools/system-packages vm
	@.venv/bin/python test/vm/tutorial.py

packages: setup  ## Build wheel, sdist, deb and rpm; install and use them
	@tools/system-packages pack
	@.venv/bin/python -m pip install -q --disable-pip-version-check build twine
	@.venv/bin/python test/packages/packages.py $(ARGS)

install:  ## Install into DESTDIR and PREFIX (/usr/local) with pip
	@rm -rf build
	@$(PYTHON) -m pip install --disable-pip-version-check --no-deps --ignore-installed \
		--prefix $(PREFIX) --root $(or $(DESTDIR),/) .

clean:  ## Remove what the other targets made in this directory
	rm -rf .venv .tox .mypy_cache .pytest_cache .ruff_cache .coverage \
		build dist doc/build *.egg-info
