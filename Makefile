PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# torch comes first and by version: a bare `torch` may fetch a CUDA build of several GB
TORCH ?= torch==2.13.0
DEMO := campaigns/ethanol

.PHONY: install demo test lint bench-smoke docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[xtb,pyscf,engines,test]"
	touch $@

demo: install
	$(BIN)/mfal run tutorials/campaigns/ethanol.yaml --dir $(DEMO)
	@echo "The report is in $(DEMO)/report.html"

test: install lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# every benchmark at tiny size; `python -m benchmarks` lists them
bench-smoke: install
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks all --smoke

docs: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f docs/mkdocs.yml
	@echo "The pages are in build/site"

clean:
	rm -rf $(VENV) build dist
