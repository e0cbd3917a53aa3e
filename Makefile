# The targets that users and CI run. `make demo` and `make test` set themselves up.
PYTHON ?= python3
DURATION ?= 60
VENV := .venv
READY := $(VENV)/.ready
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
EVERYTHING := --constraint constraints.txt --editable '.[dev]'
# TORCH=cpu: a build of torch without CUDA, a fraction of the size. pip can't be told so, the Dockerfile's uv can.
TORCH ?=
UV := $(shell sed -n 's/.*uv==\([0-9.]*\).*/\1/p' Dockerfile)

.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos lint docs wheel bench quality clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## .venv with .venv/bin/stream-worker and everything that the tests need (TORCH=cpu: without CUDA)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, got " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	@echo "installing (torch is large: minutes the first time)"
ifeq ($(TORCH),)
	$(PIP) $(EVERYTHING)
else
	$(PIP) uv==$(UV)
	VIRTUAL_ENV=$(abspath $(VENV)) $(VENV)/bin/uv pip install --quiet --torch-backend=$(TORCH) $(EVERYTHING) || { \
	  echo "torch for $(TORCH) can't be had from download.pytorch.org: taking PyPI's, for CUDA, 7.6 GB on disk"; \
	  $(PIP) $(EVERYTHING); }
endif
	@touch $@

demo: $(READY) ## a simulated shop, an embedded Kafka and a worker, for DURATION=60 seconds
	$(VENV)/bin/stream-worker demo --seconds $(DURATION)

test: $(READY) ## all tests; real Kafka and Redis are used where they can be started (required when CI=true)
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

chaos: $(READY) ## kill it in every way and check that nothing is lost or twice (SHORT=1: minutes; LOG=, MAPPING=: a real log)
	$(VENV)/bin/python -m tests.chaos $(if $(SHORT),--short) $(if $(LOG),--log $(LOG) --mapping $(MAPPING)) $(CHAOS)

lint: $(READY) ## ruff and strict mypy
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

docs: $(READY) ## the site in build/site, from docs/; fails on a warning
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

wheel: $(READY) ## a wheel in build/wheel, tried in an environment that has nothing else
	rm -rf build/lib build/wheel
	$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  "$$(ls build/wheel/*.whl)[report]"
	cd build/wheel && venv/bin/stream-worker --version && \
	  NUMBA_DISABLE_JIT=1 venv/bin/stream-worker replay ../../examples/clicks.csv -m ../../examples/canonical.toml \
	    --limit 300 --report report.html >replay.txt && tail -1 replay.txt
	rm -rf build/wheel/venv

bench: $(READY) ## events a second at every effort, growth, latency, a burst on a real Kafka, formats (LOGS="a.csv b.csv": hit rates, too)
	$(VENV)/bin/python -m benchmarks.throughput
	$(if $(LOGS),$(VENV)/bin/python -m benchmarks.efforts $(LOGS))
	$(VENV)/bin/python -m benchmarks.growth
	$(VENV)/bin/python -m benchmarks.live
	$(VENV)/bin/python -m benchmarks.limit
	$(VENV)/bin/python -m benchmarks.decoding
	$(VENV)/bin/python -m benchmarks.item_rules
	$(if $(LOGS),$(VENV)/bin/python -m benchmarks.trainer $(LOGS))

quality: $(READY) ## hit rate and MRR of the defaults on recorded logs, beside baselines and bars (LOGS="a.csv b.csv"), and drift
	$(VENV)/bin/python -m benchmarks.quality.scenarios
	$(if $(LOGS),$(VENV)/bin/python -m benchmarks.quality.table $(LOGS) $(QUALITY))

clean: ## forget the virtual environment and caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
