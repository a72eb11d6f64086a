# Two commands for a fresh machine: `make demo` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test doctest test-oldest-sklearn lint types docs docs-code examples clean

# One stamp per set of packages: an install is repeated only when the project file changes.
$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) -e ".[test]"
	touch $@

# Beside the environment, not in it: found first when it is on PYTHONPATH.
OLDEST_SKLEARN := $(abspath $(VENV))/oldest-sklearn
$(VENV)/.oldest-sklearn: $(VENV)/.test
	$(PIP) --no-deps --upgrade --target $(OLDEST_SKLEARN) "scikit-learn==1.6.*"
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) -e ".[dev]"
	touch $@

demo: $(VENV)/.base
	$(BIN)/python examples/plot_first_names.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto

doctest: $(VENV)/.test
	$(BIN)/python -m pytest -q --doctest-modules src

test-oldest-sklearn: $(VENV)/.oldest-sklearn
	PYTHONPATH=$(OLDEST_SKLEARN) $(BIN)/python -c "import sklearn as s; print(s.__version__); \
		assert s.__version__.startswith('1.6.')"
	PYTHONPATH=$(OLDEST_SKLEARN) $(BIN)/python -m pytest -q tests/test_sklearn.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

docs-code: $(VENV)/.test
	$(BIN)/python docs/run_code.py README.md docs/*.md

examples: $(VENV)/.dev
	for file in examples/*.py; do MPLBACKEND=Agg $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) docs/_build docs/generated docs/auto_examples docs/sg_execution_times.rst
