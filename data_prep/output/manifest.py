"""``manifest.json``: the last file to be written, and the proof that a folder of prepared data is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from custom_modules.config.schema import Config
from custom_modules.data.layout import MANIFEST, TOKENIZER
from custom_modules.data.manifest import FORMAT, Manifest, Part, Split, TokenizerEntry, read_manifest
from custom_modules.errors import UserError
from custom_modules.files import UnreadableError
from custom_modules.text import spelled
from custom_modules.tokenizer import Tokenizer
from custom_modules.tokenizer.load import FILES
from data_prep.builtin.inputs import inputs_of
from data_prep.input.input_files import InputFile
from data_prep.tokenize.assignment import Destination
from data_prep.tokenize.tokenize_corpus import TokenizedCorpus, digest_or_none

_BEFORE = {"url_key": "url"}
"""What options had where a manifest of a version before 0.2 does not name them."""


def options_of(
    config: Config, corpus: Mapping[str, Any] | None, steps: Sequence[tuple[str, Mapping[str, Any]]]
) -> dict[str, Any]:
    """What defines a dataset beside its input files and its tokenizer.

    Args:
        corpus: what the builtin corpus follows from; None if it is not an input.
        steps: what documents go through: names, with all that defines their outcome.
    """
    trains = config.data.train_tokenizer and config.model.tokenizer.model is None
    return {
        "input": {name: list(map(spelled, paths)) for name, paths in inputs_of(config).items()},
        "builtin": corpus,
        "tokenizer": f"trained, {config.model.vocab_size} tokens" if trains else "given",
        "text_key": config.data.text_key,
        "on_error": config.data.on_error,
        "steps": steps,
        **({"url_key": config.data.url_key} if steps else {}),
        "validation_fraction": config.data.validation_fraction,
        "seed": config.model.seed,
        **({"distilled_every": config.distilled_every} if config.distilled_every else {}),
        "stages": {
            name: {"tokens": stage.tokens, "mix": stage.mix} for name, stage in config.curriculum.stages.items()
        },
    }


def find_manifest(directory: Path) -> Manifest | None:
    """Return the manifest of a folder; None where there is none that can be understood.

    Raises:
        UnreadableError: the system refuses to read it, so that nobody knows what is prepared there.
    """
    try:
        return read_manifest(directory)
    except UnreadableError:
        raise
    except UserError:
        return None


def is_same(manifest: Manifest, options: Mapping[str, Any], files: Sequence[InputFile], tokenizer: Tokenizer) -> bool:
    """Whether preparing again would give the same data: same options, input and tokenizer.

    A file whose time of change differs is read to compare it, and one that could not be read is tried again.
    """
    return (
        orjson.dumps({**_BEFORE, **manifest.options})
        == orjson.dumps({**_BEFORE, **options})  # the stages' order counts
        and len(manifest.sources) == len(files)
        and all(map(same_file, manifest.sources, files))
        and manifest.tokenizer == _describe(tokenizer)
    )


def is_whole(manifest: Manifest, directory: Path) -> bool:
    """Whether every file that `prepare` makes has the size that the manifest says; of teachers' see `check-data`."""
    return all(_has_size(directory / name, size) for name, size in manifest.files(taught=False).items())


def build(
    directory: Path,
    options: Mapping[str, Any],
    tokenizer: Tokenizer,
    tokenized: TokenizedCorpus,
    parts: Mapping[Destination, Part],
    benchmarks: Sequence[Mapping[str, Any]],
    shared_texts: int,
) -> Manifest:
    """Return the manifest of finished data.

    Args:
        directory: ``data.dir``, where the data will lie.
        parts: the dataset of every stage, source and group, its prefix relative to ``directory``.
        benchmarks: what decontamination found of each.
        shared_texts: how many texts several sources hold.
    """
    stages: dict[str, dict[Split, list[Part]]] = {}
    for stage in options["stages"]:
        of_stage = stages.setdefault(stage, {})
        for (place, _, group), part in parts.items():
            if place == stage:
                split: Split = "validation" if group == "validation" else "train"
                of_stage.setdefault(split, []).append(replace(part, prefix=directory / part.prefix))
    return Manifest(
        path=directory / MANIFEST,
        format=FORMAT,
        options=dict(options),
        tokenizer=_describe(tokenizer),
        stages=stages,
        sources=list(tokenized.files),
        skipped={"records": tokenized.skipped, "first": tokenized.first_skipped},
        damaged={"files": len(tokenized.damaged), "named": list(map(str, tokenized.damaged))},
        removed=tokenized.removed,
        benchmarks=[dict(benchmark) for benchmark in benchmarks],
        shared_texts=shared_texts,
    )


def _describe(tokenizer: Tokenizer) -> TokenizerEntry:
    return TokenizerEntry(
        library=tokenizer.library,
        file=f"{TOKENIZER}/{FILES[tokenizer.library]}",
        sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        eos_id=tokenizer.eos_id,
    )


def _has_size(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def same_file(recorded: Mapping[str, Any], file: InputFile) -> bool:
    """Tell whether a file is as a manifest has it; one whose time of change differs is read to compare it."""
    if (recorded["path"], recorded["bytes"]) != (file.shown, file.bytes):
        return False
    is_same_time = recorded["modified_ns"] == file.modified_ns
    return bool(recorded["sha256"] and is_same_time) or recorded["sha256"] == digest_or_none(Path(file.path))
