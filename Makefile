# Two commands do everything on a machine with Python 3.11 or later and make:
#   make demo   set up and speak          make demo ROOM=1   speak into a LiveKit room
#   make test   set up and test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := UV_PROJECT_ENVIRONMENT=$(VENV) UV_NO_PROGRESS=1 $(BIN)/uv
# The lower end of the stated livekit-agents range, laid over the environment for one test run.
OLDEST := 1.7.0
OLDEST_DIR := $(VENV)/agents-$(OLDEST)

.PHONY: demo test lint test-unit test-oldest test-server test-full setup clean

demo: $(VENV)/.base
	$(BIN)/python -m livekit_xtts.demo $(if $(ROOM),--room,)

test: lint test-unit test-oldest test-server

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Tests run in two processes with one thread each: as quick as one with two, and steadier.
test-unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not full and not server"

test-oldest: $(OLDEST_DIR)
	OMP_NUM_THREADS=1 PYTHONPATH=$(OLDEST_DIR) $(BIN)/python -m pytest -n 2 -m "not full and not server" tests/livekit

test-server: $(VENV)/.dev
	$(BIN)/python -m pytest -m "server and not full"

test-full: $(VENV)/.dev
	$(BIN)/python -m pytest -m full

setup: $(VENV)/.dev

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name it with: make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet uv

# --inexact keeps uv itself in the environment; compiled once, every import is quick.
$(VENV)/.base: $(BIN)/uv uv.lock pyproject.toml
	$(UV) sync --frozen --inexact --compile-bytecode
	@touch $@

$(VENV)/.dev: $(BIN)/uv uv.lock pyproject.toml
	$(UV) sync --frozen --inexact --compile-bytecode --group dev
	@touch $@ $(VENV)/.base

# With its own dependencies but the environment's numpy, which torch was built for.
$(OLDEST_DIR): $(VENV)/.dev
	$(UV) pip freeze --quiet | grep '^numpy==' > $(VENV)/numpy.txt
	$(UV) pip install --quiet --target $@ --constraint $(VENV)/numpy.txt "livekit-agents==$(OLDEST)"
	@rm -rf $@/numpy $@/numpy.libs $@/numpy-*

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build demo.wav
