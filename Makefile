# Every target builds the environment that it needs, under .venvs/, and nothing else.
#
#   make demo    a range test on real data, then cycles between its bounds against constant rates
#   make test    the test suite
#   make slow    the tests that take minutes
#   make lint    ruff and mypy
#   make wheel   build the wheel, install it elsewhere, test it from another directory
#   make images  draw the pictures of the README and the docs again
#   make bench   measure accuracy, step time, import time and the range test again

PYTHON ?= python3
# TensorFlow greets at length otherwise.
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_ENABLE_ONEDNN_OPTS ?= 0
export PIP_DISABLE_PIP_VERSION_CHECK = 1

VENVS := .venvs
METADATA := setup.cfg pyproject.toml

.PHONY: demo test slow lint wheel images bench clean

# One stamp a kind of environment: $(call env,extras) is built when the metadata changes.
$(VENVS)/%/stamp: $(METADATA)
	$(PYTHON) -m venv --clear $(@D)
	@echo "Installing $* into $(@D) (TensorFlow is large: this takes a minute or two)"
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(@D)/bin/python -m pip install --quiet --editable ".[$(subst +,$(comma),$*)]"
	touch $@
comma := ,

DEMO := $(VENVS)/cpu+examples
TEST := $(VENVS)/cpu+test
LINT := $(VENVS)/lint+plot
WHEEL := $(VENVS)/wheel

demo: $(DEMO)/stamp
	$(DEMO)/bin/python docs/examples/digits.py

images: $(DEMO)/stamp
	$(DEMO)/bin/python docs/examples/policies.py
	$(DEMO)/bin/python docs/examples/history.py
	$(DEMO)/bin/python docs/examples/one_cycle.py
	$(DEMO)/bin/python docs/examples/range_test.py

test: $(TEST)/stamp
	$(TEST)/bin/python -m pytest -n 2 -m "not slow"

slow: $(TEST)/stamp
	$(TEST)/bin/python -m pytest -n 2 -m slow

lint: $(LINT)/stamp
	$(LINT)/bin/ruff check
	$(LINT)/bin/ruff format --check
	$(LINT)/bin/mypy

# The suite again, against what a user installs, from a folder where the package is not.
wheel: $(METADATA)
	rm -rf dist build
	$(PYTHON) -m venv --clear $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet --upgrade pip build
	$(WHEEL)/bin/python -m build --wheel --outdir dist
	$(WHEEL)/bin/python -m pip install --quiet "$$(ls dist/*.whl)[cpu,test]"
	rm -rf build/elsewhere && mkdir -p build/elsewhere/docs && cp docs/*.md build/elsewhere/docs
	cp -r tests benchmarks *.md CITATION.cff pyproject.toml build/elsewhere
	cd build/elsewhere && $(abspath $(WHEEL))/bin/python -c \
		"import clr_schedules as clr; assert 'site-packages' in clr.__file__, clr.__file__"
	cd build/elsewhere && $(abspath $(WHEEL))/bin/python -m pytest -n 2 -m "not slow" tests README.md

bench: $(DEMO)/stamp
	$(DEMO)/bin/python -m benchmarks

clean:
	rm -rf $(VENVS) build dist *.egg-info
