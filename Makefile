# Every target sets up what it needs; a second run finds it done.
VENV ?= .venv
PYTHON ?= $(shell .ci/python)
ALL = -e '.[memory,examples]' --group test --group lint
# Peers are measured in environments of their own: one of them has our import name.
SDK = fastapi-redis-sdk httpx lupa fakeredis
CASHEWS = fastapi 'cashews[redis]'
FASTAPI_CACHE = 'fastapi-cache2[redis]' jinja2

export VENV PYTHON

.PHONY: help demo test coverage lint format types docs bench peers race chaos clean

help:
	@echo "make demo      run the example shop (embedded Redis unless REDIS_URL is set)"
	@echo "make test      run the tests; PYTEST_ARGS='-k name' selects"
	@echo "make coverage  run the tests and report what they do not reach"
	@echo "make lint      check style and formatting;  make format  repairs both"
	@echo "make types     mypy --strict on src, tests and examples"
	@echo "make docs      build the site into site/; links that lead nowhere are errors"
	@echo "make bench     measure cost against peers, into docs/performance.md; BENCH_ARGS=--quick"
	@echo "make peers     what this library and three others do in the same situation; PEERS_ARGS=--write"
	@echo "make race      readers, writers and SIGKILLs on a few keys; RACE_ARGS='--seconds 10'"
	@echo "make chaos     four workers under load while Redis fails; CHAOS_ARGS='--seconds 30'"
	@echo "make clean     remove environments, caches and build results"

demo:
	@.ci/demo

test: .python
	@.ci/tests $(VENV) $(PYTHON) $(ALL)

coverage: .setup
	@.ci/install-redis
	$(VENV)/bin/python -m coverage run -m pytest $(PYTEST_ARGS)
	$(VENV)/bin/python -m coverage report

lint: .setup
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .

format: .setup
	$(VENV)/bin/python -m ruff check --fix .
	$(VENV)/bin/python -m ruff format .

types: .setup
	$(VENV)/bin/python -m mypy

docs: .python
	@.ci/venv .venvs/docs $(PYTHON) --group docs
	NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/python -m mkdocs --quiet build --strict

bench: .peers
	@.ci/install-wrk
	@.ci/venv .venvs/ours $(PYTHON) -e . --group bench
	.venvs/ours/bin/python tests/benchmarks $(BENCH_ARGS)

peers: .setup .peers
	PYTHONPATH=tests $(VENV)/bin/python -m peers $(PEERS_ARGS)

race: .setup
	@.ci/install-redis
	PYTHONPATH=tests $(VENV)/bin/python -m race $(RACE_ARGS)

chaos: .setup
	@.ci/install-redis
	PYTHONPATH=tests $(VENV)/bin/python -m outages.chaos $(CHAOS_ARGS)

clean:
	rm -rf .venv .venvs dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# Not files: .ci/venv decides by itself what is out of date.
.PHONY: .peers .python .setup
.peers: .python
	@.ci/install-redis
	@.ci/venv .venvs/sdk $(PYTHON) $(SDK) --group bench
	@.ci/venv .venvs/cashews $(PYTHON) $(CASHEWS) --group bench
	@.ci/venv .venvs/fastapi-cache $(PYTHON) $(FASTAPI_CACHE) --group bench

.python:
	@test -n "$(PYTHON)" || { echo "Python 3.10 or newer is needed." >&2; exit 1; }

.setup: .python
	@.ci/venv $(VENV) $(PYTHON) $(ALL)
