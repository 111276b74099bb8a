# make run: set up and start the studio.  make test: set up and pass the tests.  make check: style, types, doors.  make bench: how fast.
# make faults: every fault that a studio survives, one table.  make soak: 100 visitors for three minutes.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=

.PHONY: run test check bench faults soak train clean

run: $(VENV)/.run-ready
	$(PY) app.py $(ARGS)

test: $(VENV)/.dev-ready
	$(PY) tests/browser/get_chromium.py
	$(PY) -m pytest $(ARGS)

check: $(VENV)/.dev-ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright
	$(PY) -m pytest tests/test_doors.py

bench: $(VENV)/.dev-ready
	$(PY) -m tests.bench $(ARGS)

faults: $(VENV)/.dev-ready
	$(PY) tests/browser/get_chromium.py
	$(PY) -m tests.faults $(ARGS)

soak: $(VENV)/.dev-ready
	$(PY) -m tests.soak $(ARGS)

train: $(VENV)/.run-ready
	$(PY) -m engine.starter.train $(ARGS)

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12)) else f'Easel needs Python 3.11 or 3.12, this is {v[0]}.{v[1]}. Try: make run PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)

# A stamp is written only after the install went through, so a broken download is taken up again.
$(VENV)/.run-ready: requirements.txt $(VENV)/bin/python
	$(PY) -m pip install --disable-pip-version-check --quiet --requirement requirements.txt
	touch $@

$(VENV)/.dev-ready: requirements-dev.txt requirements-gguf.txt requirements-mcp.txt requirements-nf4.txt requirements-quantised.txt requirements.txt $(VENV)/bin/python
	$(PY) -m pip install --disable-pip-version-check --quiet --requirement requirements-dev.txt
	touch $@ $(VENV)/.run-ready

clean:
	rm -rf $(VENV)
