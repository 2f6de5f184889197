# make demo: fit on a real table and generate.  make test: every check and test.  Both do all their own set-up.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: demo test fast mutants audit fuzz format benchmark clean

demo: $(VENV)/installed
	$(RUN) examples/table.py examples/planes.csv synthetic.csv

test: $(VENV)/tested
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pytest -m "not slow"
	$(RUN) -m pytest -m slow

# what to run while editing: the tests that take seconds
fast: $(VENV)/tested
	$(RUN) -m pytest -m "not slow"

# the table of what would break privacy, and which test catches it
mutants: $(VENV)/tested
	$(RUN) tests/test_mutants.py

# known holes in what is installed, where a service of them answers
audit: $(VENV)/tested
	$(RUN) tests/audit_dependencies.py

# more spoilt files than the tests read: make fuzz CASES=1000000 SEED=7
CASES ?= 100000
SEED ?= 1
fuzz: $(VENV)/tested
	for reader in csv parquet images schema model proof gate; do \
		PYTHONPATH=plugins $(RUN) tests/fuzz.py $$reader $(CASES) $(SEED); done

format: $(VENV)/tested
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# the README's table of figures; DATA is a folder with a NAME.train.csv and NAME.test.csv per table
benchmark: $(VENV)/tested
	$(RUN) tests/benchmarks/tables.py $(DATA)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'synthgen needs Python 3.11 or newer')"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable .
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(RUN) -m pip install --quiet --editable ".[test,images,dp,imblearn,ray]"
	touch $@
