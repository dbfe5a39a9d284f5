# Every target builds the environment that it needs, under .venvs/, and nothing else.
#
#   make demo    a range test on real data, then cycles between its bounds against constant rates
#   make test    the tests of the package
#   make slow    the tests that take minutes
#   make long    more of the same, such as fifteen killed trainings after the five of make slow
#   make coverage  the tests of the package, and which lines and branches of it they run
#   make lint    ruff and mypy
#   make matrix  the test suite on every Keras and engine, and a table of what passed;
#                make matrix MATRIX="legacy jax" on some of newest, legacy, oldest, jax, torch
#   make mutation  whether the tests notice when the code is wrong, in some 10 minutes;
#                it goes on where it stopped, and `rm -r mutants` begins anew
#   make wheel   build the wheel, install it elsewhere, test it from another directory
#   make release-check  build sdist and wheel twice, compare and inspect them, and try the wheel in bare
#                environments; what passed is in dist/. Six minutes or more
#   make images  draw the pictures of the README and the docs again
#   make docs    build the site into build/docs/html, run what its pages show, and test pages and
#                benchmarks
#   make bench   every measurement that README and docs cite, in some eight minutes
#   make bench-quick        all of it in some two minutes, from few runs; prints, writes nothing
#   make cifar10  the blog post's comparison on CIFAR-10, in hours, going on where it stopped;
#                 make cifar10 DATA=FOLDER with images of one's own, CIFAR10="--epochs 150 …" for more
#   make bench-gpu-kernels  count the kernels of a step on a GPU, without one

PYTHON ?= python3
# TensorFlow greets at length otherwise.
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_ENABLE_ONEDNN_OPTS ?= 0
export PIP_DISABLE_PIP_VERSION_CHECK = 1

VENVS := .venvs
METADATA := setup.cfg pyproject.toml

.PHONY: demo docs test coverage slow long lint matrix mutation wheel release-check images bench bench-quick bench-gpu-kernels cifar10 clean

# Before the next rule, since an old make takes the first that fits.
$(VENVS)/matrix-%/stamp: $(METADATA)
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(@D)/bin/python -m pip install --quiet $(REQUIREMENTS_$*)
	$(if $(ALONE_$*),$(@D)/bin/python -m pip install --quiet --no-deps $(ALONE_$*))
	touch $@

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
RELEASE := $(VENVS)/release
DOCS := $(VENVS)/cpu+examples+docs
BENCH := $(VENVS)/cpu+bench
GPU_KERNELS := $(VENVS)/gpu-kernels
MATRIX := newest legacy oldest jax torch
# What each of them runs.
MATRIX_TESTS := -n 2 -q -m "not long"
# Which PyTorch the matrix takes; on Linux, the newest brings gigabytes for GPUs with it.
TORCH := torch

demo: $(DEMO)/stamp
	$(DEMO)/bin/python docs/examples/digits.py

images: $(DEMO)/stamp
	$(DEMO)/bin/python docs/examples/policies.py
	$(DEMO)/bin/python docs/examples/history.py
	$(DEMO)/bin/python docs/examples/one_cycle.py
	$(DEMO)/bin/python docs/examples/fine_tuning.py
	$(DEMO)/bin/python docs/examples/snapshots.py
	$(DEMO)/bin/python docs/examples/range_test.py

# What is no test of the package: `make docs` runs these.
PAGES := tests/docs tests/benchmarks
coverage: COVERAGE := --cov --cov-report=term --cov-report=html:build/coverage
test coverage: $(TEST)/stamp
	$(TEST)/bin/python -m pytest -n 2 -m "not slow" $(PAGES:%=--ignore=%) $(COVERAGE)

slow: $(TEST)/stamp
	$(TEST)/bin/python -m pytest -n 2 -m "slow and not long" --durations 12

long: $(TEST)/stamp
	$(TEST)/bin/python -m pytest -n 2 -m long

lint: $(LINT)/stamp
	$(LINT)/bin/ruff check
	$(LINT)/bin/ruff format --check
	$(LINT)/bin/mypy

# What each environment of the matrix has, beside the package and what the suite needs.
REQUIREMENTS_newest := --editable .[cpu,test]
REQUIREMENTS_legacy := --editable .[cpu,test]
REQUIREMENTS_oldest := --editable .[cpu,test] "tensorflow-cpu==2.18.*" "keras==3.6.0"
REQUIREMENTS_jax := --editable .[test] jax keras
REQUIREMENTS_torch := --editable .[test] $(TORCH) keras
REQUIREMENTS_mutation := --editable .[test,mutation] $(TORCH) keras
# `tf_keras` asks for the wheel of TensorFlow that is named so, which is there under another name.
ALONE_legacy := tf_keras

matrix: $(MATRIX:%=$(VENVS)/matrix-%/stamp)
	$(PYTHON) tools/matrix.py $(MATRIX) --pytest='$(MATRIX_TESTS)'

# On PyTorch, which survives that each mutant is tested in a fork of one warm process.
mutation: $(VENVS)/matrix-mutation/stamp
	KERAS_BACKEND=torch OMP_NUM_THREADS=1 $(VENVS)/matrix-mutation/bin/python tools/mutation.py $(MUTANTS)

# What a user installs, from a folder where the package is not: that nothing is missing, what is
# saved and loaded, and the README. The code is what `make test` tests.
WHEEL_TESTS := tests/test_package.py tests/docs/test_readme.py tests/integration/test_golden.py \
	tests/integration/test_training.py tests/integration/test_saving.py README.md
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
	cd build/elsewhere && $(abspath $(WHEEL))/bin/python -m pytest -n 2 -m "not slow" $(WHEEL_TESTS)

# `make release-check TAG=v1.2.3`, before a release, also wants tree and changelog to be ready for it.
release-check: $(RELEASE)/stamp
	$(RELEASE)/bin/python tools/release_check.py $(WHEEL_TESTS)

# An example of the gallery is run again when it changes; `rm -r docs/gallery` has all of them run.
SPHINX := $(DOCS)/bin/python -m sphinx -q -W --keep-going -d build/docs/doctrees
docs: $(DOCS)/stamp $(TEST)/stamp
	$(SPHINX) -b html docs build/docs/html
	$(SPHINX) -b doctest docs build/docs/doctest
	$(TEST)/bin/python -m pytest -n 2 -m "not slow" $(PAGES)

bench bench-quick: $(BENCH)/stamp
	$(BENCH)/bin/python -m benchmarks $(if $(filter bench-quick,$@),--quick)

DATA := keras
CIFAR10 := --epochs 30 --budget 1/3 --seeds 0-2
cifar10: $(BENCH)/stamp
	$(BENCH)/bin/python -m benchmarks.cifar10 --data "$(DATA)" \
		--jobs $$(getconf _NPROCESSORS_ONLN) $(CIFAR10)

# XLA compiles for an NVIDIA GPU with this plugin and ptxas; neither GPU nor driver are needed, nor
# most of what the plugin would have to run there.
bench-gpu-kernels: $(METADATA)
	$(PYTHON) -m venv --clear $(GPU_KERNELS)
	$(GPU_KERNELS)/bin/python -m pip install --quiet --upgrade pip
	$(GPU_KERNELS)/bin/python -m pip install --quiet \
		jax==0.10.2 jaxlib==0.10.2 jax-cuda12-pjrt==0.10.2 keras numpy
	$(GPU_KERNELS)/bin/python -m pip install --quiet --no-deps \
		jax-cuda12-plugin==0.10.2 nvidia-cuda-nvcc-cu12 --editable .
	KERAS_BACKEND=jax $(GPU_KERNELS)/bin/python -m benchmarks.gpu_kernels

clean:
	rm -rf $(VENVS) build dist docs/gallery *.egg-info
