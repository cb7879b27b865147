# Each target sets up what it needs in .venv first; with that in place it starts at once.
# Wanted on the machine: make, and a Python from 3.11 to 3.14 with pip and venv. Another one than python3, in an
# environment of its own: make PYTHON=python3.13 VENV=.venv-3.13 test.

PYTHON ?= python3
ARGS ?=
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
PIP := $(BIN)/python -m pip -qq --no-input
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv run test check lint types floors soak bench gpu gpupack matrix litert docs format clean

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

venv: $(STAMP) ## an editable install with every extra
	@:

# The stamp is written last: an install that was cut off starts again, and a broken environment is made anew.
# hatchling comes first so that the build of fpnas itself uses the pinned one and asks no registry.
$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@echo "setting up $(VENV) (Python, torch and tools as pinned in constraints.txt; the first time takes minutes)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install -c constraints.txt torch==2.13.0 hatchling
	@$(PIP) install -c constraints.txt torch==2.13.0 --no-build-isolation -e '.[augment,digits,onnx,parquet,tables,docs,dev]'
	@touch $@

run: $(STAMP) ## a whole search in miniature; ARGS="..." goes to benchmarks/make_run.py
	@$(BIN)/python benchmarks/make_run.py $(ARGS)

# All checks run even when one fails, so that one call shows everything; pytest's summary comes last.
test: $(STAMP) ## every check, then the tests; ARGS="..." goes to pytest
	@failed=0; \
	$(MAKE) --no-print-directory --silent --keep-going check || failed=1; \
	[ $$failed = 0 ] || echo "a check before the tests FAILED, see above"; \
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS) || failed=1; \
	exit $$failed

check: lint types floors ## lint, types and floors

lint: $(STAMP) ## ruff: rules and format
	@failed=0; \
	$(BIN)/python -m ruff check --quiet || failed=1; \
	$(BIN)/python -m ruff format --check --quiet || { echo "ruff format: not formatted, see above; make format mends it"; failed=1; }; \
	exit $$failed

types: $(STAMP) ## basedpyright, strict
	@$(BIN)/python -m basedpyright --pythonpath $(BIN)/python

floors: $(STAMP) ## import-linter: imports go down only
	@$(BIN)/python -c "from importlinter.cli import lint_imports_command as main; main()" --no-logo

soak: $(STAMP) ## the long proofs, which `make test` leaves out
	@$(BIN)/python -m pytest -n $(JOBS) -m soak --timeout 7200 $(ARGS)

# One after the other, with nothing else running: each measures ratios, and writes its results file.
bench: $(STAMP) ## speed, memory and ranks against the floors that they have to meet, then the peers; ARGS="..." goes to each
	@for what in step_time memory scaling peers; do \
		$(BIN)/python benchmarks/$$what.py --results benchmarks/results/$${what}_cpu2_$$(date +%F).md $(ARGS) || exit 1; \
	done
	@$(BIN)/python benchmarks/paper/adaptive.py --results benchmarks/results/paper_adaptive_cpu2_$$(date +%F).md

# Without the environment above: a machine that is lent for minutes has a torch of its own, and perhaps no network.
gpu: ## on a machine with a GPU: speed, time in kernels, memory, a whole search and training, in 8 minutes; ARGS="..."
	@PYTHON="$${PYTHON:-$$([ -x $(BIN)/python ] && echo $(BIN)/python || echo python3)}" benchmarks/gpu.sh $(ARGS)

gpupack: $(STAMP) ## what `make gpu` wants on a machine without network, in .gpu/: wheels, and CIFAR-10 where it is
	@PYTHON=$(BIN)/python benchmarks/gpupack.sh

matrix: $(STAMP) ## by hand: the wheel in environments with other versions of Python, torch and NumPy; ARGS="--python ..."
	@$(BIN)/python benchmarks/matrix/matrix.py --results benchmarks/results/matrix_cpu2_$$(date +%F).md $(ARGS)

# An environment of its own: litert-torch asks for packages of language models, and pins an xdsl that wants an older
# typing-extensions than constraints.txt. So both come without their needs, and those that are used are named here.
LITERT := .venv-litert
litert: pyproject.toml constraints.txt ## the tests of LiteRT files, in $(LITERT), which the first call makes
	@test -f $(LITERT)/.complete || { \
		$(PYTHON) -m venv --clear $(LITERT) && \
		sed '/^torch/d' constraints.txt > $(LITERT)/constraints.txt && \
		pip="$(LITERT)/bin/python -m pip -qq --no-input install -c $(LITERT)/constraints.txt" && \
		$$pip torch==2.13.0 hatchling && \
		$$pip --no-deps litert-torch==0.10.0 litert-converter==0.5.0 xdsl==0.28.0 ai-edge-litert==2.3.0 \
			ai-edge-quantizer==0.10.0 torchao==0.18.0 tflite-micro==0.dev20261023182759 && \
		$$pip torch==2.13.0 absl-py backports.strenum bitarray flatbuffers immutabledict==4.2.1 jax lark ml_dtypes \
			multipledispatch ordered-set==4.1.0 protobuf pyyaml scipy tabulate tqdm && \
		$$pip torch==2.13.0 --no-build-isolation -e '.[digits,onnx]' beartype hypothesis pytest pytest-timeout && \
		touch $(LITERT)/.complete; }
	@$(LITERT)/bin/python -m pytest -m litert tests/litert $(ARGS)

docs: $(STAMP) ## the documentation in site/; fails where a link, an anchor or a picture is missing
	@$(BIN)/python docs/build.py

format: $(STAMP) ## ruff mends what it can
	@$(BIN)/python -m ruff check --quiet --fix-only
	@$(BIN)/python -m ruff format --quiet

clean: ## remove .venv, caches and build outputs; runs/ stays
	@rm -rf $(VENV) dist build site .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
