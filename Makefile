# The two commands: "make demo" shows the program at work on real input, "make test" runs all tests.
# Both make their own virtual environment in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Real data for tests and demo, where it lies beside the project; see docs/data.md.
export GRAPHNAS_DATA ?= $(abspath $(wildcard ../shared/data))
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint format clean eda-tools procgen

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	BIN=$(BIN) bash benchmarks/demo.sh

test: $(READY)
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The outside programs of the open routing flow (docs: graphnas eda route); Debian and Ubuntu.
eda-tools:
	apt-get install --yes yosys qrouter qflow-tech-osu035

# Procgen asks for numpy < 2, but runs with numpy 2: it is installed beside it, with what it imports (docs/control.md).
procgen: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt cffi imageio glfw moderngl gym-notices
	$(BIN)/python -m pip install --quiet --no-deps procgen2 gym3 gym

clean:
	rm -rf $(VENV) demo
