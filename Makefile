# make rehearse · make rehearse-danube2 · make test · make test-slurm · make test-gpu · make test-null-gpu · make bench-host · make lint · make bench · make bench-data: each makes .venv first, once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/danube_rehearsal
EXPORT := exports/danube_rehearsal
CONFIG := --config-name danube_rehearsal
# More arguments for every command of the rehearsal, e.g. make rehearse OVERRIDES="data.input=my_texts"
OVERRIDES ?=

.PHONY: install rehearse rehearse-danube2 test test-fast test-slurm test-gpu test-null-gpu lint bench bench-data bench-host clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed; try: apt-get install python3.11-venv, or make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

rehearse: install
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; begun=$$SECONDS; \
	bash slurm/prepare_data.sh $(CONFIG) $(OVERRIDES); \
	danube plan $(CONFIG) $(OVERRIDES); \
	for stage in 1 2 3 4; do bash slurm/stage$$stage.sh $(CONFIG) $(OVERRIDES); done; \
	bash slurm/convert.sh to-hf $(RUN) $(EXPORT) --overwrite --verify; \
	danube sample $(EXPORT); \
	danube report $(RUN); \
	echo "rehearsed in $$((SECONDS - begun)) s: $(EXPORT) is a Hugging Face checkpoint, $(RUN)/report/figure1.png its Figure 1"

# Danube2 from that Danube, which is rehearsed first where it is not there.
CONFIG2 := --config-name danube2_rehearsal
RUN2 := runs/danube2_rehearsal
START2 := runs/danube2_rehearsal_start
EXPORT2 := exports/danube2_rehearsal
# The small models that its data is filtered with: the text of two sources is good, that of the web is not.
QUALITY2 := data/danube2_rehearsal_quality
EXAMPLES2 := $(addprefix --good builtin/,python sympy) $(addprefix --raw builtin/,transformers torch) \
	corpus=data/danube2_rehearsal/raw max_examples=1000
ENCODER2 := tokenizer=$(EXPORT) num_layers=2 hidden_size=64 ffn_hidden_size=256 max_length=128 epochs=1 lr=1e-3

rehearse-danube2: install
	@test -f $(EXPORT)/config.json || $(MAKE) rehearse OVERRIDES=
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; begun=$$SECONDS; \
	test -d $(QUALITY2)/gbm || danube train-quality gbm $(QUALITY2)/gbm $(EXAMPLES2) num_iterations=50; \
	test -d $(QUALITY2)/encoder || danube train-quality encoder $(QUALITY2)/encoder $(EXAMPLES2) $(ENCODER2); \
	bash slurm/prepare_data.sh $(CONFIG2) $(OVERRIDES); \
	test -d $(START2) || danube remap-tokenizer $(RUN) $(START2) --to data/danube2_rehearsal/tokenizer; \
	danube plan $(CONFIG2) $(OVERRIDES); \
	for stage in 1 2 3; do bash slurm/stage$$stage.sh $(CONFIG2) $(OVERRIDES); done; \
	bash slurm/convert.sh to-hf $(RUN2) $(EXPORT2) --overwrite --verify; \
	danube sample $(EXPORT2); \
	danube report $(RUN2); \
	echo "rehearsed in $$((SECONDS - begun)) s: $(EXPORT2) is a Hugging Face checkpoint, $(RUN2)/report/figure1.png its curves"

test: install
	$(BIN)/pytest -m 'not slurm and not gpu and not null_gpu' --numprocesses 2 --dist worksteal

test-fast: install
	$(BIN)/pytest

# The scripts on throw-away Slurms, each process with its own, since most of a job is waiting; skipped where there is none
# to be had (Debian: the packages that .ci/run installs).
test-slurm: install
	$(BIN)/pytest -m slurm -rs --numprocesses 3 --dist worksteal

# In the environment that trains on the GPUs, which `install` does not make: PYTHON=python3 in a container.
test-gpu:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m pytest -m gpu -rs tests/gpu

# A CUDA torch and the real Transformer Engine over a library that computes nothing: docs/null_gpu.md. NULL_GPU="0.16 0.19":
# which of the environments of tests/null_gpu/environments.py; one that isn't there is made first, once.
NULL_GPU ?= 0.16

test-null-gpu: install
	$(BIN)/python -m tests.null_gpu.install $(NULL_GPU)
	$(BIN)/pytest -m null_gpu -rs tests/null_gpu/suite

bench-host: install
	$(BIN)/python -m tests.null_gpu.install $(NULL_GPU)
	$(BIN)/python -m tests.null_gpu.bench_host $(NULL_GPU)

lint: install
	@if command -v shellcheck >/dev/null; then shellcheck slurm/*.sh slurm/site.env; else echo "make: shellcheck is not installed, slurm/ is not checked" >&2; fi
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# TEXT="FOLDER ...": where to take text from, in place of the system's folders. MEGATRON_LM=FOLDER times its tool too.
TEXT ?=
bench-data: install
	$(BIN)/python -m benchmarks.data $(TEXT)

bench: install
	$(BIN)/python -m benchmarks

clean:
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m custom_modules.clean {runs,data,exports}/danube{,2}_rehearsal $(START2) $(QUALITY2)/{gbm,encoder} $(QUALITY2)
