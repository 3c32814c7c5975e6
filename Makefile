# make rehearse · make rehearse-danube2 · make rehearse-loki · make rehearse-chat · make test · make test-slurm · make test-gpu · make gpu-day · make test-engines · make test-null-gpu · make test-gguf · make test-campaigns · make bench-host · make lint · make bench · make bench-data: each makes .venv first, once.
ifeq ($(filter oneshell,$(.FEATURES)),)
$(error GNU make 3.82 or later is needed, this is $(MAKE_VERSION); on macOS: brew install make, then gmake)
endif
# Not /bin/bash, which on macOS is too old for slurm/.
SHELL := $(shell command -v bash)
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/danube_rehearsal
EXPORT := exports/danube_rehearsal
CONFIG := --config-name danube_rehearsal
# Made-up data in the columns of the reports' benchmarks, and how many items of each its tables are of.
EVALUATION := data/evaluation_rehearsal
ITEMS ?= 8
# More arguments for every command of the rehearsal, e.g. make rehearse OVERRIDES="data.input=my_texts"
OVERRIDES ?=
comma := ,

.PHONY: install constraints rehearse rehearse-danube2 rehearse-loki rehearse-chat test test-fast test-slurm test-gpu gpu-day test-engines test-null-gpu test-gguf test-campaigns lint bench bench-data bench-host clean

install: $(VENV)/.installed

# $(call environment,PYTHON,how to have it) makes that of the target's folder.
define environment
	@command -v $(1) >/dev/null || { echo "make: $(1) is not installed; $(2)" >&2; exit 1; }
	test -x $(@D)/bin/python || $(1) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	$(call environment,$(PYTHON),try: apt-get install python3.11-venv$(comma) or make PYTHON=...)

# The newest versions of everything, for each Python and system: [tool.uv] in pyproject.toml says what is held back.
constraints: install
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-annotate --no-header --extra dev --extra dali pyproject.toml --output-file constraints.new
	{ echo '# Exact versions of everything that the project installs: what CI tests. `make constraints` writes them anew.'; cat constraints.new; } > constraints.txt
	rm constraints.new

rehearse: install
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; begun=$$SECONDS; rm -rf $(EXPORT)/evaluation; \
	test -f $(EVALUATION)/manifest.json || python -m data_prep.rehearsal.evaluation $(EVALUATION); \
	bash slurm/prepare_data.sh $(CONFIG) $(OVERRIDES); \
	danube plan $(CONFIG) $(OVERRIDES); \
	for stage in 1 2 3 4; do bash slurm/stage$$stage.sh $(CONFIG) $(OVERRIDES); done; \
	bash slurm/convert.sh to-hf $(RUN) $(EXPORT) --overwrite --verify; \
	danube sample $(EXPORT); \
	danube evaluate $(EXPORT) --suite all --data $(EVALUATION) --limit $(ITEMS) --devices 2; \
	python -m data_prep.rehearsal.learned $(RUN); \
	danube report $(RUN); \
	echo "rehearsed in $$((SECONDS - begun)) s: $(EXPORT) is a Hugging Face checkpoint, $(RUN)/report/figure1.png its Figure 1"

# Danube2 from that Danube, which is rehearsed first where it is not there.
CONFIG2 := --config-name danube2_rehearsal
RUN2 := runs/danube2_rehearsal
START2 := runs/danube2_rehearsal_start
EXPORT2 := exports/danube2_rehearsal
# The small models that its data is filtered with: the text of two sources is good, that of the web is not.
QUALITY2 := data/danube2_rehearsal_quality
MAX_EXAMPLES2 := 1000
EXAMPLES2 := $(addprefix --good builtin/,python sympy) $(addprefix --raw builtin/,transformers torch) \
	corpus=data/danube2_rehearsal/raw max_examples=$(MAX_EXAMPLES2)
ENCODER2 := tokenizer=$(EXPORT) num_layers=2 hidden_size=64 ffn_hidden_size=256 max_length=128 epochs=1 lr=1e-3

rehearse-danube2: install
	@test -f $(EXPORT)/config.json || $(MAKE) rehearse OVERRIDES=
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; begun=$$SECONDS; \
	test -d $(QUALITY2)/gbm || danube train-quality gbm $(QUALITY2)/gbm $(EXAMPLES2) num_iterations=200; \
	test -d $(QUALITY2)/encoder || danube train-quality encoder $(QUALITY2)/encoder $(EXAMPLES2) $(ENCODER2); \
	bash slurm/prepare_data.sh $(CONFIG2) $(OVERRIDES); \
	test -d $(START2) || danube remap-tokenizer $(RUN) $(START2) --to data/danube2_rehearsal/tokenizer; \
	danube plan $(CONFIG2) $(OVERRIDES); \
	for stage in 1 2 3; do bash slurm/stage$$stage.sh $(CONFIG2) $(OVERRIDES); done; \
	bash slurm/convert.sh to-hf $(RUN2) $(EXPORT2) --overwrite --verify; \
	danube sample $(EXPORT2); \
	danube report $(RUN2); \
	echo "rehearsed in $$((SECONDS - begun)) s: $(EXPORT2) is a Hugging Face checkpoint, $(RUN2)/report/figure1.png its curves"

# LokiLM, whose teachers are that Danube, which is rehearsed first where it is not there, and a small model of its own.
CONFIG3 := --config-name loki_rehearsal
DATA3 := data/loki_rehearsal
RUN3 := runs/loki_rehearsal
EXPORT3 := exports/loki_rehearsal
# What its config reads beside text: small models, a vocabulary to prune, a benchmark that has leaked, made-up text.
PARTS3 := data/loki_rehearsal_parts
RAW3 := $(DATA3)/raw/builtin
WEB3 := $(addprefix $(RAW3)/,torch.jsonl networkx.jsonl)
MAX_EXAMPLES3 := 1000
GENERATED3 := 192
EXAMPLES3 := $(addprefix --good builtin/,python sympy) $(addprefix --raw builtin/,transformers torch) corpus=$(DATA3)/raw max_examples=$(MAX_EXAMPLES3)
# One layer, trained in seconds on the first stage's text.
TEACHER3 := runs/loki_rehearsal_teacher
SMALL3 := name=$(notdir $(TEACHER3)) data.dir=$(DATA3) distillation.teachers={} model.rampup_batch_tokens=null model.num_layers=1 \
	curriculum.stage=stage1 exp_manager.create_tensorboard_logger=false
TEACH3 := bash slurm/teach.sh $(CONFIG3) --teacher

rehearse-loki: install
	@test -f $(EXPORT)/config.json || $(MAKE) rehearse OVERRIDES=
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; begun=$$SECONDS; \
	test -d $(PARTS3)/quality || danube train-quality encoder $(PARTS3)/quality $(EXAMPLES3) $(ENCODER2); \
	test -d $(PARTS3)/sentences || python -m data_prep.rehearsal.sentence_encoder $(PARTS3)/sentences --on $(WEB3) --tokenizer $(EXPORT); \
	test -f $(PARTS3)/bytes.tiktoken || python -m data_prep.vocabulary.train $(PARTS3)/bytes.tiktoken --vocab-size 6400 --on $(WEB3); \
	test -d $(PARTS3)/tokenizer || danube prune-tokenizer $(PARTS3)/bytes.tiktoken $(PARTS3)/tokenizer --any --vocab-size 2048 --on $(WEB3); \
	test -f $(PARTS3)/benchmark.jsonl || head -n 40 $(RAW3)/networkx.jsonl > $(PARTS3)/benchmark.jsonl; \
	test -f $(PARTS3)/generated.jsonl || python -m data_prep.rehearsal.generated $(EXPORT) $(PARTS3)/generated.jsonl --texts $(GENERATED3); \
	bash slurm/prepare_data.sh $(CONFIG3) $(OVERRIDES); \
	danube plan $(CONFIG3) $(OVERRIDES); \
	danube pretrain $(CONFIG3) $(OVERRIDES) $(SMALL3); \
	danube convert to-hf $(TEACHER3) $(PARTS3)/teacher --overwrite; \
	$(TEACH3) mistral_7b $(EXPORT) --shard-tokens 40000 $(OVERRIDES); \
	$(TEACH3) llama2_13b $(PARTS3)/teacher --shard-tokens 40000 $(OVERRIDES); \
	danube teach $(CONFIG3) --teacher gpt_4 --prompts $(PARTS3)/prompts.jsonl $(OVERRIDES); \
	python -m data_prep.rehearsal.answers $(EXPORT) $(PARTS3)/prompts.jsonl $(PARTS3)/answers.jsonl; \
	danube teach $(CONFIG3) $(OVERRIDES) --teacher gpt_4 --import $(PARTS3)/answers.jsonl; \
	for stage in 1 2; do bash slurm/stage$$stage.sh $(CONFIG3) $(OVERRIDES); done; \
	bash slurm/convert.sh to-hf $(RUN3) $(EXPORT3) --overwrite --verify; \
	bash slurm/convert.sh to-gguf $(RUN3) $(EXPORT3).gguf --overwrite; \
	danube sample $(EXPORT3); \
	danube report $(RUN3); \
	echo "rehearsed in $$((SECONDS - begun)) s: $(EXPORT3) is a Hugging Face checkpoint, $(EXPORT3).gguf one for llama.cpp, $(RUN3)/report/figure1.png its curves"

# Danube's chat model from that Danube, which is rehearsed first where it is not there: sections 6 and 7 of the report.
SFT4 := --config-name danube_sft_rehearsal
DPO4 := --config-name danube_dpo_rehearsal
SECOND_DPO4 := --config-name danube_dpo_oasst2_rehearsal
CHATS4 := data/chat_rehearsal
BENCH4 := data/mt_bench_rehearsal
TUNED4 := exports/danube_sft_rehearsal
EXPORT4 := exports/danube_chat_rehearsal
# Of what SFT does to held-out prompts the least that will do, where it isn't 1 nat less and 9 answers of 10 that end.
LEAST4 ?=

rehearse-chat: install
	@test -f $(EXPORT)/config.json || $(MAKE) rehearse OVERRIDES=
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; begun=$$SECONDS; rm -rf $(EXPORT4)/mt_bench; \
	test -d $(CHATS4) || python -m data_prep.rehearsal.chats $(CHATS4); \
	test -d $(BENCH4) || python -m data_prep.rehearsal.mt_bench $(BENCH4); \
	bash slurm/prepare_data.sh $(SFT4) $(OVERRIDES); \
	danube plan $(SFT4) $(OVERRIDES); \
	bash slurm/sft.sh $(SFT4) $(OVERRIDES); \
	bash slurm/convert.sh to-hf runs/danube_sft_rehearsal $(TUNED4) --overwrite --verify; \
	python -m data_prep.rehearsal.held_out runs/danube_sft_rehearsal $(TUNED4) data/danube_sft_rehearsal $(LEAST4); \
	for config in "$(DPO4)" "$(SECOND_DPO4)"; do \
	    bash slurm/prepare_data.sh $$config $(OVERRIDES); \
	    bash slurm/dpo.sh $$config $(OVERRIDES); \
	done; \
	bash slurm/convert.sh to-hf runs/danube_dpo_oasst2_rehearsal $(EXPORT4) --overwrite; \
	danube chat $(EXPORT4) --prompt "What is 7 + 5?" --max-new-tokens 64; \
	python -m data_prep.rehearsal.judge danube mt-bench $(EXPORT4) --bench $(BENCH4) --max-new-tokens 64; \
	for run in danube_sft danube_dpo danube_dpo_oasst2; do danube report runs/$${run}_rehearsal; done; \
	echo "rehearsed in $$((SECONDS - begun)) s: $(EXPORT4) is a chat model, $(EXPORT4)/mt_bench its Table 3"

# A process more than cores: much of the time is waiting.
test: install
	$(BIN)/pytest -m 'not slurm and not gpu and not engines and not null_gpu and not gguf and not campaign' --numprocesses 3 --dist worksteal --durations=30

test-fast: install
	$(BIN)/pytest

# What CI runs a short form of, at its full count: many kills, many layouts, large sizes.
test-campaigns: install
	$(BIN)/pytest -m campaign -rs --durations=0 --numprocesses 2 --dist worksteal

# The scripts on throw-away Slurms, each process with its own, since most of a job is waiting; skipped where there is none
# to be had (Debian: the packages that .ci/run installs).
test-slurm: install
	$(BIN)/pytest -m slurm -rs --numprocesses 3 --dist worksteal

# In the environment that trains on the GPUs, which `install` does not make: PYTHON=python3 in a container.
test-gpu:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m pytest -m gpu -rs tests/gpu

# What a GPU has to say in nine minutes, in that environment too. GPU_DAY="--budget 300 --folder FOLDER" says otherwise.
GPU_DAY ?=
gpu-day:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m tests.gpu_day $(GPU_DAY)

# What touches megatron-core, under each version that the program runs on: .venv's, and that of another Python in an
# environment of its own; and runs that go from one to the other. ENGINES_PYTHON=... where it is elsewhere.
ENGINES_PYTHON ?= $(lastword python3.12 $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python3.12))
ENGINES := .venv-engines
ENGINE_TESTS := $(addprefix tests/,bench cluster conversion data doctor model platform training test_example.py)

$(ENGINES)/.installed: pyproject.toml constraints.txt
	$(call environment,$(ENGINES_PYTHON),try: make $(MAKECMDGOALS) ENGINES_PYTHON=...)

test-engines: install $(ENGINES)/.installed
	DANUBE_OTHER_PYTHON=$(CURDIR)/$(ENGINES)/bin/python $(BIN)/pytest -m engines -rs tests/engines
	$(BIN)/pytest -m 'not slurm and not gpu and not engines and not null_gpu and not gguf and not campaign' --numprocesses 2 --dist worksteal $(ENGINE_TESTS)
	HYPOTHESIS_STORAGE_DIRECTORY=$(ENGINES)/.hypothesis $(ENGINES)/bin/pytest -o cache_dir=$(ENGINES)/.pytest_cache \
	    -m 'not slurm and not gpu and not engines and not null_gpu and not gguf and not campaign' --numprocesses 2 --dist worksteal $(ENGINE_TESTS)

# A CUDA torch and the real Transformer Engine over a library that computes nothing: docs/null_gpu.md. NULL_GPU="0.16 0.19":
# which of the environments of tests/null_gpu/environments.py; one that isn't there is made first, once.
NULL_GPU ?= 0.16
# Programs at a time, each with up to 7 GB of memory.
NULL_GPU_AT_ONCE ?= 2

test-null-gpu: install
	$(BIN)/python -m tests.null_gpu.install $(NULL_GPU)
	$(BIN)/pytest -m null_gpu -rs --durations=0 --numprocesses $(NULL_GPU_AT_ONCE) --dist worksteal tests/null_gpu/suite

# What `danube convert to-gguf` writes, in llama.cpp, whose Python package is built in an environment of its own, once:
# that takes a C++ compiler and minutes.
GGUF := .venv-gguf
LLAMA_CPP := 0.3.36

$(GGUF)/.llama-cpp-python-$(LLAMA_CPP):
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed; try: make $(MAKECMDGOALS) PYTHON=..." >&2; exit 1; }
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	CMAKE_ARGS='-DLLAVA_BUILD=OFF' $(@D)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --no-binary llama-cpp-python llama-cpp-python==$(LLAMA_CPP)
	touch $@

test-gguf: install $(GGUF)/.llama-cpp-python-$(LLAMA_CPP)
	DANUBE_LLAMA_PYTHON=$(CURDIR)/$(GGUF)/bin/python $(BIN)/pytest -m gguf -rs tests/conversion/test_llama_cpp.py

bench-host: install
	$(BIN)/python -m tests.null_gpu.install $(NULL_GPU)
	$(BIN)/python -m tests.null_gpu.bench_host $(NULL_GPU)

lint: install
	@if command -v shellcheck >/dev/null; then shellcheck slurm/*.sh slurm/site.env kubernetes/*.sh; else echo "make: shellcheck is not installed, slurm/ is not checked" >&2; fi
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
	@rm -rf $(EXPORT4)/mt_bench $(EXPORT)/evaluation
	@rm -f $(addprefix $(PARTS3)/,bytes.tiktoken benchmark.jsonl generated.jsonl prompts.jsonl answers.jsonl) $(EXPORT3).gguf
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m custom_modules.clean {runs,data,exports}/{danube,danube2,loki}_rehearsal $(START2) $(QUALITY2)/{gbm,encoder} $(QUALITY2) $(TEACHER3) $(PARTS3)/{quality,sentences,tokenizer,teacher} {runs,data}/danube_{sft,dpo,dpo_oasst2}_rehearsal $(TUNED4) $(EXPORT4) $(CHATS4) $(BENCH4) $(PARTS3) $(EVALUATION)
