# make demo    the deployment guide, carried out on a sample site, staging and then production
# make test    everything that must hold before a commit
#
# Needs Python 3.11 or later and git. Everything is made inside this folder. Paths here are
# relative on purpose: make splits names at spaces, and this folder's own name may have some.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DELETE_ON_ERROR:
.PHONY: demo test lint faults bench clean

demo: .venv/installed
	@.venv/bin/python examples/demo.py

test: lint .cache/mariadb/installed
	.venv/bin/python -m pytest -n auto -m "not faults"

lint: .venv/installed-dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

faults: .venv/installed-dev .cache/mariadb/installed
	.venv/bin/python -m pytest -m faults

bench: .venv/installed-dev .cache/mariadb/installed
	@for script in benchmarks/*.py; do test ! -e "$$script" || .venv/bin/python "$$script" || exit; done

clean:
	rm -rf .venv .cache demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; name it with PYTHON=…" >&2; exit 1; }
	@test -x .venv/bin/python && .venv/bin/python -c "" || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@.venv/bin/python -m pip install --quiet --editable .
	@touch $@

# after the other: two pips at once in one environment would spoil it
.venv/installed-dev: .venv/installed
	@.venv/bin/python -m pip install --quiet --editable ".[dev]"
	@touch $@

.cache/mariadb/installed: tests/get_mariadb.sh
	@tests/get_mariadb.sh .cache/mariadb
	@touch $@
