# Everything a contributor types. `make help` lists the targets.
#
# Needed on the machine: make, cargo (Rust 1.89 or later) and Python 3.9 or later with venv.
# All else is installed into $(VENV). Another interpreter gets an environment of its own: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= $(if $(filter python3,$(notdir $(PYTHON))),.venv,.venv-$(notdir $(PYTHON)))
SEED ?=
SECONDS ?= 60
PROCESSES ?=
DEMO ?=
BENCH ?=
TESTS ?=

BIN := $(VENV)/bin
VENV_READY := $(VENV)/.requirements-installed
PACKAGE_READY := $(VENV)/.package-installed

RUST_SOURCES := Cargo.toml $(wildcard Cargo.lock) \
	$(shell find crates/everyline crates/everyline-cli crates/everyline-python crates/everyline-serve -name target -prune -o \
	\( -name '*.rs' -o -name Cargo.toml \) -print 2>/dev/null)
PYTHON_SOURCES := pyproject.toml $(shell find python -name '*.py' -o -name '*.pyi' -o -name '*.pth' 2>/dev/null)
TORTURE := $(wildcard crates/everyline-torture)

# Civil time is compared with CPython 3.13, if there is one: on the PATH, or kept by pyenv.
export EVERYLINE_PYTHON313 ?= $(shell command -v pyenv >/dev/null && p=$$(pyenv prefix 3.13 2>/dev/null) && echo $$p/bin/python)

export PYO3_PYTHON := $(abspath $(BIN)/python)

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-loom test-python bench bench-python torture lint build clean
.NOTPARALLEL:

help:
	@echo 'make demo      a real gunicorn logs through Python'"'"'s handlers and through ours, about two minutes'
	@echo '               DEMO="--requests 2000 --rows everyline-size" passes options on'
	@echo 'make test      Rust tests, loom model tests, Python tests, and a torture run of 60 s'
	@echo '               make test-python TESTS="tests/servers -k gunicorn" picks some'
	@echo 'make torture   processes are killed at every step, and every line is counted'
	@echo '               SEED= SECONDS=$(SECONDS) PROCESSES= choose the run'
	@echo 'make bench     speed and memory of the engine; BENCH= passes options on'
	@echo 'make bench-python  log calls from Python beside other handlers, less than four minutes'
	@echo 'make lint      rustfmt, clippy, ruff, mypy, stubtest'
	@echo 'make build     the command and the Python package'
	@echo 'make clean     removes everything that was built'
	@echo 'PYTHON=        the interpreter to use, here $(PYTHON); its environment is $(VENV)'

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# uWSGI is C source. Where it cannot be built all else is still tested; with CI=true its absence is a failure there.
$(VENV_READY): $(addprefix requirements/,dev.txt demo.txt servers.txt uwsgi.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -r requirements/dev.txt -r requirements/demo.txt -r requirements/servers.txt
	$(PIP_INSTALL) -r requirements/uwsgi.txt || \
		echo 'uWSGI could not be built, so its tests will be skipped. It needs gcc and the headers of Python.' >&2
	touch $@

$(PACKAGE_READY): $(VENV_READY) $(RUST_SOURCES) $(PYTHON_SOURCES)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --quiet
	touch $@

demo: $(PACKAGE_READY)
	$(BIN)/python -m demo.run $(DEMO)

test: test-rust test-loom test-python
	$(MAKE) torture SECONDS=60

test-rust:
	cargo test -p everyline -p everyline-cli -p everyline-serve --features everyline/tracing
ifneq ($(TORTURE),)
	cargo test -p everyline-torture
	cargo test -p everyline --features torture
endif

# Loom replaces the atomics of the whole crate, so it gets a target directory of its own.
test-loom:
	RUSTFLAGS="--cfg loom" cargo test -p everyline --test loom --release --target-dir target/loom

# The command is what logrotate is made to call.
test-python: $(PACKAGE_READY)
	cargo build --quiet -p everyline-cli
	EVERYLINE_COMMAND=$(abspath $(or $(CARGO_TARGET_DIR),target)/debug/everyline) $(BIN)/python -m pytest $(TESTS)

# Three repeats take less than four minutes.
bench-python: $(PACKAGE_READY)
	while read -r wanted; do case "$$wanted" in \#*) ;; *) $(PIP_INSTALL) "$$wanted" || true ;; esac; done < requirements/bench.txt
	$(BIN)/python bench/python_speed.py --out bench/results/$$(date -u +%F)-python --readme bench/README.md $(BENCH)

bench:
	cargo run --release -p everyline-bench -- $(BENCH)

torture:
	cargo run --release -p everyline-torture -- run $(if $(SEED),--seed $(SEED)) --seconds $(SECONDS) \
		$(if $(PROCESSES),--processes $(PROCESSES))

lint: $(PACKAGE_READY)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/stubtest everyline

build: $(PACKAGE_READY)
	cargo build --release

clean:
	cargo clean
	rm -rf $(VENV) out build .pytest_cache .ruff_cache .mypy_cache
	rm -f python/everyline/*.so
