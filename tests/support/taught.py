"""Small data of which a part is distilled, with rows of teachers that can be told by the tokens they stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.config.load import load_config
from custom_modules.data.index import IndexedDatasetWriter, open_index
from custom_modules.data.manifest import Manifest, Part, load_manifest
from custom_modules.distillation.rows import RowsNote, note_file, rows_file, rows_suffix
from custom_modules.distillation.rows_writer import make_records, publish_rows, reserve_rows, write_shard
from custom_modules.distillation.texts import TextsNote, texts_note_file, texts_prefix
from custom_modules.files import aside_of, sha256_of
from data_prep.teach.register import register
from tests.support.tiny import TINY, VOCAB_SIZE, prepare

TOP_K = 4
TEACHERS = ("one", "two")
EVERY_4TH = ["distillation={every_n_batches: 4, teachers: {}}"]
TAUGHT = [f"distillation={{every_n_batches: 4, top_k: {TOP_K}, teachers: {{one: {{}}, two: {{}}}}}}"]

PREFIX = 20
WITH_TEXTS = [
    f"distillation={{every_n_batches: 4, top_k: {TOP_K}, prefix_tokens: {PREFIX}, teachers: {{one: {{}}, two: {{}}, "
    "api: {targets: text}}}"
]


def ids_beside(tokens: NDArray[np.integer], teacher: int) -> NDArray[np.int64]:
    """Return what a teacher of these says at each token: ``[n, k]``."""
    return (tokens.astype(np.int64)[:, None] * (teacher + 1) + np.arange(TOP_K)) % VOCAB_SIZE


PROBABILITIES = (np.array([9, 6, 3, 1]) / 20) ** 2
"""Of the tokens that a teacher says, in their order."""


def write_rows(data: Path, teachers: Sequence[str] = TEACHERS) -> None:
    """Write rows of teachers beside every distilled part of a ``data.dir``; the last token of a document has none."""
    config = load_config("danube_rehearsal", [*TINY, *TAUGHT, f"data.dir={data}"])
    for number, teacher in enumerate(teachers):
        for _, _, part in load_manifest(config).datasets():
            if part.stream == "distilled":
                path = rows_of(part, data, number, teacher)
                files = {rows_suffix(teacher): path, f"{rows_suffix(teacher)}.json": note_file(path)}
                register(config, part, files, {})


def rows_of(part: Part, data: Path, number: int, teacher: str) -> Path:
    """Write the rows of one teacher beside one part."""
    tokens = np.fromfile(part.bin, part.dtype)
    ends = open_index(part.idx).boundaries(1, part.documents) - 1
    probabilities = np.tile(PROBABILITIES, (len(tokens), 1))
    probabilities[ends] = 0
    path = rows_file(part.prefix, teacher)
    aside = aside_of(path)
    reserve_rows(aside, len(tokens), TOP_K)
    write_shard(aside, 0, make_records(ids_beside(tokens, number), probabilities))
    entry = load_manifest(load_config("danube_rehearsal", [*TINY, f"data.dir={data}"])).tokenizer
    note = RowsNote(
        teacher=teacher,
        model="of the tests",
        k=TOP_K,
        tokens=len(tokens),
        positions=len(tokens) - part.documents,
        covered=len(tokens) - part.documents,
        bin_sha256=part.sha256["bin"],
        idx_sha256=part.sha256["idx"],
        tokenizer_sha256=entry.sha256,
        vocab_size=entry.vocab_size,
        sha256=sha256_of(aside),
    )
    publish_rows(aside, path, note)
    return path


def alternative_to(document: NDArray[np.integer], number: int) -> NDArray[np.int64]:
    """Return what the teacher of texts makes of a document: the rest backwards; of every third, and of one that is no
    longer than the prefix, nothing."""
    tokens = document.astype(np.int64)
    if number % 3 == 0 or len(tokens) <= PREFIX:
        return tokens[-1:]
    return np.concatenate([tokens[:PREFIX], tokens[PREFIX:-1][::-1], tokens[-1:]])


def write_texts(data: Path) -> None:
    """Write texts of a teacher ``api`` beside every distilled part of a ``data.dir``."""
    manifest = load_manifest(load_config("danube_rehearsal", [*TINY, f"data.dir={data}"]))
    config = load_config("danube_rehearsal", [*TINY, *WITH_TEXTS, f"data.dir={data}"])
    for _, _, part in manifest.datasets():
        if part.stream == "distilled":
            register(config, part, _texts_of(part, manifest), {})


def _texts_of(part: Part, manifest: Manifest) -> dict[str, Path]:
    tokens = np.fromfile(part.bin, part.dtype)
    bounds = open_index(part.idx).boundaries(0, part.documents)
    texts = [alternative_to(tokens[a:b], number) for number, (a, b) in enumerate(pairwise(bounds))]
    prefix = texts_prefix(part.prefix, "api")
    writer = IndexedDatasetWriter(prefix, np.dtype(part.dtype))
    writer.append(np.concatenate(texts).astype(part.dtype), np.array([len(text) for text in texts], np.int32))
    written = dict(zip(("bin", "idx"), writer.complete(), strict=True))
    writer.clear()
    there = sum(len(text) > 1 for text in texts)
    note = TextsNote(
        teacher="api",
        model="of the tests",
        prefix_tokens=PREFIX,
        documents=part.documents,
        tokens=sum(map(len, texts)),
        texts=there,
        too_short=0,
        without=len(texts) - there,
        generated_again=0,
        dropped=0,
        bin_sha256=part.sha256["bin"],
        idx_sha256=part.sha256["idx"],
        tokenizer_sha256=manifest.tokenizer.sha256,
        vocab_size=manifest.tokenizer.vocab_size,
        sha256={kind: file.sha256 for kind, file in written.items()},
    )
    path = texts_note_file(part.prefix, "api")
    note.write(path)
    files = {kind: prefix.with_name(f"{prefix.name}.{kind}") for kind in written}
    return {"api.texts.json": path, **{f"api.texts.{kind}": file for kind, file in files.items()}}


def prepare_taught(folder: Path, documents: int = 130) -> Path:
    """Prepare small data with a distilled part two teachers' rows and one's texts; returns its ``data.dir``."""
    data = prepare(folder, documents, [*TINY, *EVERY_4TH])
    write_rows(data)
    write_texts(data)
    return data
