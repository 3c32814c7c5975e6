"""NeMo's keys of the tokenizer and the data, in both versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from custom_modules.config.nemo.fates import (
    LENGTHS,
    Fate,
    NemoKey,
    Outcome,
    anyway,
    refused,
    renamed,
    same,
    section,
    translated,
    unread,
)
from custom_modules.config.nemo.model import batch_size, rampup_batch_size
from custom_modules.config.nemo.settings import Refused, Settings, as_value

PREPARE = (
    "prepared data is a folder with a manifest: `danube prepare` makes it from text (data.input or data.sources), and "
    "data.dir names it; shares of sources are curriculum.stages.<stage>.mix"
)
TOKENIZER = "set model.tokenizer.library=sentencepiece or huggingface, and model.tokenizer.model to its file"
BPE = (
    "a vocabulary and its merges are one tokenizer.json: set model.tokenizer.library=huggingface "
    "model.tokenizer.model=tokenizer.json"
)
WORKERS_AHEAD = 2
"""Batches that each worker of torch's DataLoader holds ready (its ``prefetch_factor``)."""


def _split(value: Any, settings: Settings) -> Outcome:
    numbers = [float(part) for part in re.findall(r"\d+(?:\.\d+)?", str(value))]
    if len(numbers) not in (2, 3) or not numbers[0] or not numbers[1]:
        raise Refused("needs TRAIN,VALIDATION,0, such as '990,10,0'; here that is data.validation_fraction=0.01")
    train, validation, test = (*numbers, 0.0)[:3]
    fraction = validation / (train + validation)
    if test:
        raise Refused(f"there is no test split: set data.validation_fraction={fraction:g}, when the data is prepared")
    return Outcome({"data.validation_fraction": fraction}, "of the documents, when the data is prepared")


def _workers(value: Any, settings: Settings) -> Outcome:
    workers = as_value(value)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise Refused("needs a number of workers; here a thread prepares data.prefetch_factor micro-batches ahead")
    ahead = max(1, WORKERS_AHEAD * workers)
    return Outcome({"data.prefetch_factor": ahead}, "micro-batches that are prepared ahead, by a thread")


def _tokenizer_type(value: Any, settings: Settings) -> Outcome:
    if settings.get("model.tokenizer.library") == "huggingface" and Path(str(value)).exists():
        return Outcome({"model.tokenizer.model": value})
    raise Refused(f"a tokenizer is a file here: {TOKENIZER}")


def _library(value: Any, settings: Settings) -> Outcome:
    if value in ("sentencepiece", "huggingface", None):
        return Outcome({})
    raise Refused(f"tokenizers are sentencepiece's or huggingface's: {TOKENIZER}")


TOKENIZERS = (
    NemoKey(
        "model.tokenizer.library",
        Fate.SAME,
        "the same: `sentencepiece` or `huggingface`",
        _library,
        ("model.tokenizer.library",),
    ),
    same("model.tokenizer.model"),
    translated(
        "model.tokenizer.type",
        ("model.tokenizer.model",),
        "`model.tokenizer.model`, where it is a path and the library is huggingface",
        _tokenizer_type,
    ),
    refused("model.tokenizer.vocab_file", BPE),
    refused("model.tokenizer.merge_file", BPE),
    refused("model.tokenizer.delimiter", "tables are not tokenized; leave it out"),
    refused("model.tokenizer.special_tokens", "a tokenizer has the tokens of its file; leave it out"),
    anyway("model.tokenizer.sentencepiece_legacy", (False,), "a tokenizer has the tokens of its file"),
    anyway("model.tokenizer.use_fast", (True,), "a tokenizer.json is Hugging Face's fast one"),
    anyway("model.tokenizer.trust_remote_code", (False,), "no code of a tokenizer is run"),
)


def _datasets(prefix: str) -> tuple[NemoKey, ...]:
    def key(name: str) -> str:
        return f"{prefix}.{name}"

    return (
        renamed(key("seq_length"), "model.encoder_seq_length", order=LENGTHS),
        translated(
            key("num_workers"), ("data.prefetch_factor",), f"`data.prefetch_factor`: {WORKERS_AHEAD} a worker", _workers
        ),
        refused(key("index_mapping_dir"), "a run's index files lie in its own folder: set exp_manager.exp_dir"),
        anyway(key("num_dataset_builder_threads"), (1,), "one thread builds a run's index files"),
        anyway(key("dataloader_type"), ("single",), "samples are read in their order, once a pass"),
        *(
            same(ours) if ours == key(name) else renamed(key(name), ours)
            for name in ("reset_position_ids", "reset_attention_mask", "eod_mask_loss")
            for ours in [f"data.{name}"]
        ),
        anyway(key("create_attention_mask"), (False,), "attention makes its mask itself"),
        anyway(key("mmap_bin_files"), (True,), "files are mapped into memory"),
    )


DATA = (
    refused("model.data.data_prefix", PREPARE),
    section("model.data.data_prefix", PREPARE),
    *_datasets("model.data"),
    anyway(
        "model.data.data_impl",
        ("mmap",),
        "files are mapped into memory",
        "training reads prepared data alone; `danube bench --random-tokens` needs none",
    ),
    anyway(
        "model.data.mock_dataset",
        (False,),
        "training reads prepared data",
        "training reads prepared data alone; `danube bench --random-tokens` needs none",
    ),
    translated(
        "model.data.splits_string",
        ("data.validation_fraction",),
        "`data.validation_fraction`, when the data is prepared",
        _split,
    ),
    anyway("model.data.skip_warmup", (True,), "files are not read through before the first step"),
    anyway("model.data.validation_drop_last", (True,), "validation reads whole batches"),
    anyway("model.data.no_seqlen_plus_one_input_tokens", (False,), "a sample is a sequence and the token after it"),
    anyway("model.data.pad_samples_to_global_batch_size", (False,), "batches are whole"),
    anyway("model.data.shuffle_documents", (True,), "documents are shuffled, with model.seed"),
    anyway("model.data.exchange_indices_distributed", (False,), "index files are read from the run's folder"),
    anyway(
        "model.data.data_cache_generation_only",
        (False,),
        "a run trains",
        "index files are built at a run's start; leave it out",
    ),
    section("model.data", "is not here; prepared data is data.dir, and how it is made is in the other keys of data"),
)

NEMO_2 = (
    refused("data.paths", PREPARE),
    section("data.paths", PREPARE),
    *_datasets("data"),
    batch_size("data.global_batch_size"),
    renamed("data.micro_batch_size", "model.micro_batch_size"),
    rampup_batch_size("data.rampup_batch_size"),
    renamed("data.seed", "model.seed"),
    translated(
        "data.split", ("data.validation_fraction",), "`data.validation_fraction`, when the data is prepared", _split
    ),
    refused("data.tokenizer", f"a tokenizer is a file here: {TOKENIZER}"),
    section("data.tokenizer", f"a tokenizer is a file here: {TOKENIZER}"),
    *(
        refused(f"data.num_{split}_samples", why)
        for split, why in (
            ("train", "a stage trains its tokens: set curriculum.stages.<stage>.tokens"),
            ("val", "set trainer.limit_val_tokens"),
        )
    ),
    unread("data.num_test_samples", "nothing is tested in pre-training, here as with NeMo"),
    anyway("data.pin_memory", (True,), "memory is pinned where there is a GPU"),
    unread("data.persistent_workers", "a thread reads ahead as long as a stage lasts"),
    anyway("data.init_consumed_samples", (0,), "a run knows what it has read"),
    anyway("data.init_global_step", (0,), "a run knows what it has read"),
    refused("data.object_storage_cache_path", "prepared data lies on a file system; leave it out"),
    refused("data.vocab_file", BPE),
    refused("data.merges_file", BPE),
)
