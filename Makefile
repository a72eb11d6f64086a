# Two commands for a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: help demo test test-slow doctest test-oldest-sklearn lint types docs docs-code examples dist clean

# First, so that `make` alone prints it. A target is listed with what stands behind its ##.
help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 22

# One stamp per set of packages: an install is repeated only when the project file changes.
$(VENV)/.base: pyproject.toml $(CONSTRAINTS)
	@echo "making a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@echo "installing the package, PyTorch (about 200 MB) and scikit-learn: minutes at the first time"
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.base
	@echo "installing what the tests need: pytest, matplotlib, RDKit and others"
	$(PIP) -e ".[test]"
	touch $@

# Beside the environment, not in it: found first when it is on PYTHONPATH.
OLDEST_SKLEARN := $(abspath $(VENV))/oldest-sklearn
$(VENV)/.oldest-sklearn: $(VENV)/.test
	@echo "installing scikit-learn 1.6 beside the environment"
	$(PIP) --no-deps --upgrade --target $(OLDEST_SKLEARN) "scikit-learn==1.6.*"
	touch $@

$(VENV)/.dev: $(VENV)/.test
	@echo "installing what development needs: ruff, mypy, Sphinx and others"
	$(PIP) -e ".[dev]"
	touch $@

demo: $(VENV)/.base  ## fit on first names, print new ones and scores
	@echo "importing PyTorch; then it fits on 5,163 first names, about half a minute on one core"
	$(BIN)/python examples/plot_first_names.py

test: $(VENV)/.test  ## the quick tests
	$(BIN)/python -m pytest -n auto -m "not slow"

test-slow: $(VENV)/.test  ## the tests of the benchmarks and long runs
	$(BIN)/python -m pytest -n auto -m slow

doctest: $(VENV)/.test  ## the examples in docstrings
	$(BIN)/python -m pytest -q --doctest-modules src

test-oldest-sklearn: $(VENV)/.oldest-sklearn  ## the tests of the estimators with scikit-learn 1.6
	PYTHONPATH=$(OLDEST_SKLEARN) $(BIN)/python -c "import sklearn as s; print(s.__version__); \
		assert s.__version__.startswith('1.6.')"
	PYTHONPATH=$(OLDEST_SKLEARN) $(BIN)/python -m pytest -q tests/test_sklearn.py

lint: $(VENV)/.dev  ## style and format, also of the workflow and the citation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/cffconvert --validate

types: $(VENV)/.dev  ## type annotations
	$(BIN)/mypy

docs: $(VENV)/.dev  ## the documentation, which runs the examples
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

docs-code: $(VENV)/.test  ## the code in the pages
	$(BIN)/python docs/run_code.py README.md docs/*.md

examples: $(VENV)/.dev  ## every example as a script
	for file in examples/*.py; do MPLBACKEND=Agg $(BIN)/python $$file || exit 1; done

# The wheel is built from the sdist, and used where nothing of the checkout can be imported.
dist: $(VENV)/.dev  ## build sdist and wheel, check them, and use the wheel in an environment of its own
	rm -rf dist $(VENV)/clean
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/python -m venv $(VENV)/clean
	$(VENV)/clean/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) dist/*.whl
	cd dist && ../$(VENV)/clean/bin/python ../tests/use_wheel.py ../tests/golden

clean:  ## remove the environment and what was built
	rm -rf $(VENV) docs/_build docs/generated docs/auto_examples docs/sg_execution_times.rst
