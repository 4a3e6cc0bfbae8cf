# Everything a developer does is one word. `make demo` and `make test` set up all they need.
PYTHON ?= python3
EVERY ?= 1
SECONDS ?= 60
MINUTES ?= 3
KILLS ?= 20
BIN := .venv/bin
NATIVE := pyproject.toml CMakeLists.txt $(wildcard cpp/*.cpp cpp/*.h)

.PHONY: help install demo test check quality lint format bench docs crash hostile fuzz sanitize stress clean

help:
	@echo "make demo     set up, index the standard library's documentation, answer questions"
	@echo "make test     set up, run the tests"
	@echo "make lint     ruff and mypy --strict"
	@echo "make check    lint and test"
	@echo "make quality  retrieval quality against the figures to hold; needs the evaluation sets"
	@echo "make format   let ruff rewrite the code"
	@echo "make bench    kernels and encoder beside their peers"
	@echo "make docs     write the generated pages: docs/cli.md and the kernels' stub"
	@echo "make hostile  every attack on every file of small collections (EVERY=10: one of ten)"
	@echo "make fuzz     the readers, guided by coverage (SECONDS=600, for each target)"
	@echo "make crash    kill and fail at every change of the disk (POINTS=50: a sample), kill commands"
	@echo "make sanitize the kernels' C++ check under ASan and UBSan"
	@echo "make stress   a writer and six readers, every answer checked (MINUTES=3)"
	@echo "make repairs  every file of small collections damaged in every way, every kill of a repair"
	@echo "make clean    remove the environment and what was built"

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.runs: $(BIN)/python $(NATIVE)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.develops: $(BIN)/python $(NATIVE)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch .venv/.runs $@

install: .venv/.develops

demo: .venv/.runs
	$(BIN)/gingham demo

test: .venv/.develops
	$(BIN)/python -m pytest

lint: .venv/.develops
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

quality: .venv/.develops
	runs/evaluate_all.sh --quick $(DATA)

format: .venv/.develops
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.develops
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/startup.py

docs: .venv/.develops
	$(BIN)/python docs/make_cli_reference.py
	$(BIN)/python -m nanobind.stubgen -q -m gingham.kernels._native \
		-o src/gingham/kernels/_native.pyi

hostile: .venv/.develops
	PYTHONPATH=tests $(BIN)/python -m hostile.campaign --every $(EVERY)

fuzz: .venv/.develops
	PYTHONPATH=tests $(BIN)/python -m hostile.fuzz --seconds $(SECONDS)

crash: .venv/.develops
	PYTHONPATH=tests $(BIN)/python -m faults.campaign --jobs 2 $(if $(POINTS),--points $(POINTS))
	PYTHONPATH=tests $(BIN)/python -m faults.kill_cli --kills $(KILLS)

sanitize:
	cmake -S . -B build/check -DGINGHAM_CPP_TESTS=ON -DGINGHAM_SANITIZE=address,undefined
	cmake --build build/check
	build/check/check_kernels

stress: .venv/.develops
	$(BIN)/python tests/concurrency/stress.py $$(($(MINUTES) * 60))

repairs: .venv/.develops
	GINGHAM_ALL_REPAIRS=1 $(BIN)/python -m pytest -q -s tests/upkeep

clean:
	rm -rf .venv build dist
