# Everything a developer or CI runs. `make` lists the targets.

PYTHON   ?= python3
VENV     ?= .venv
# The torch requirement. On a GPU machine or another index, for example: make demo TORCH='torch>=2.10'
TORCH    ?= torch==2.13.0
BACKENDS ?= torch jax tensorflow
WORKERS  ?= 2
# Further flags of the demo, for example: make demo DEMO=--epochs=2
DEMO     ?=
# Further pytest arguments, for example: make test BACKENDS=jax PYTEST='-k rotary'
PYTEST   ?=

python    := $(VENV)/bin/python
# Bytecode is written at first import instead of at install: compiling all of TensorFlow costs more than what is used of
# it. Some machines forbid to write it, and would then compile anew in every process.
export PYTHONDONTWRITEBYTECODE :=
install   := $(python) -m pip install -qq --no-compile --disable-pip-version-check --constraint .ci/constraints.txt
# A file goes to one worker, so that its fixtures and compiled graphs are made once. One thread per worker: two workers
# with two threads each are slower on two cores.
one_core  := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NPROC=1 \
             TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 TF_CPP_MIN_LOG_LEVEL=2 TOKENIZERS_PARALLELISM=false
pytest    := $(one_core) $(python) -m pytest -q -n $(WORKERS) --dist loadfile --durations 5 $(PYTEST)

.DEFAULT_GOAL := help
.PHONY: help setup demo quick test test-all lint types check format bench bench-peers clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(python):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zoo needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: setup.cfg .ci/constraints.txt | $(python)
	@echo "Installing zoo with torch into $(VENV): a minute or two."
	$(install) "$(TORCH)" --editable ".[torch,plots]"
	@touch $@

$(VENV)/test: setup.cfg .ci/constraints.txt | $(python)
	@echo "Installing zoo, three backends and the test tools into $(VENV): 4 GB, some minutes."
	$(install) "$(TORCH)" --editable ".[torch,jax,tensorflow,dev]"
	@touch $@ $(VENV)/demo

setup: $(VENV)/test  ## the environment alone: three backends and the test tools, 4 GB

demo: $(VENV)/demo  ## train and compare two text matchers on bundled pairs (torch)
	KERAS_BACKEND=torch $(python) examples/text_matching.py $(DEMO)

# A slip of style keeps no test from running: both are done, both are reported.
quick: $(VENV)/test  ## lint, and on one backend the tests of the files that differ from main
	@status=0; $(MAKE) --no-print-directory lint || status=1; \
	files=$$($(python) .ci/changed_tests.py) || exit 1; \
	echo "== $(firstword $(BACKENDS)):" $${files:-nothing to test}; \
	[ -z "$$files" ] || KERAS_BACKEND=$(firstword $(BACKENDS)) $(one_core) $(python) -m pytest -q -m "not slow" $(PYTEST) $$files || status=1; \
	exit $$status

test: $(VENV)/test  ## check, then every test but the slow ones on all three backends
	@$(MAKE) --no-print-directory -k check run-tests SLOW='and not slow'

test-all: $(VENV)/test  ## the same with the slow tests
	@$(MAKE) --no-print-directory -k check run-tests SLOW=

# All runs happen even if one fails; the last step adds them up and holds them against the stored floors.
.PHONY: run-tests
run-tests: $(VENV)/test
	@rm -rf build/tests; status=0; \
	echo "== neutral"; \
	KERAS_BACKEND=$(firstword $(BACKENDS)) $(pytest) -m "neutral $(SLOW)" --junitxml build/tests/neutral.xml || status=1; \
	for backend in $(BACKENDS); do \
	    echo "== $$backend"; \
	    KERAS_BACKEND=$$backend $(pytest) -m "not neutral $(SLOW)" --junitxml build/tests/$$backend.xml || status=1; \
	done; \
	[ -n "$(PYTEST)" ] || $(python) .ci/count_tests.py build/tests neutral $(BACKENDS) || status=1; \
	exit $$status

check: lint types  ## lint, formatting, types

lint: $(VENV)/test
	@$(python) -m ruff check . ; status=$$?; $(python) -m ruff format --check . && exit $$status

types: $(VENV)/test
	@# On an installed tree: in the checkout zoo.layers is ../layers, which mypy cannot know.
	@rm -rf build/lib build/typed
	@$(python) -m pip install -qq --no-deps --no-build-isolation --disable-pip-version-check --target build/typed .
	cd build/typed && $(abspath $(python)) -m mypy --config-file $(CURDIR)/setup.cfg --cache-dir $(CURDIR)/.mypy_cache -p zoo

format: $(VENV)/test  ## sort imports, format, mend what ruff can mend
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

bench: $(VENV)/test  ## the benchmarks that need no data; an idle machine, please
	for script in benchmarks/*.py benchmarks/length/*.py; do $(python) $$script || exit 1; done

# The peers pin what zoo does not want, so that they live apart. English sentences for one of the rows, for example:
# make bench-peers PEERS=--sentences=stsb-en/test.tsv.gz
PEERS ?=
.venv-peers/done: benchmarks/peers/requirements.txt benchmarks/peers/requirements-bare.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install -qq --disable-pip-version-check "$(TORCH)" -r benchmarks/peers/requirements.txt --editable .
	.venv-peers/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r benchmarks/peers/requirements-bare.txt
	@touch $@

bench-peers: .venv-peers/done  ## zoo beside sentence-transformers, bert4keras, keras-hub, transformers, peft
	.venv-peers/bin/python benchmarks/peers/run.py $(PEERS)

clean:  ## remove the environment and everything built
	rm -rf $(VENV) .venv-peers build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
