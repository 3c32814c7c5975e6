"""Small data of which a part is distilled, with rows of teachers that can be told by the tokens they stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.config.load import load_config
from custom_modules.data.index import open_index
from custom_modules.data.manifest import Part, load_manifest
from custom_modules.distillation.rows import RowsNote, note_file, rows_file, rows_suffix
from custom_modules.distillation.rows_writer import make_records, publish_rows, reserve_rows, write_shard
from custom_modules.files import aside_of, sha256_of
from data_prep.teach.register import register
from tests.support.tiny import TINY, VOCAB_SIZE, prepare

TOP_K = 4
TEACHERS = ("one", "two")
EVERY_4TH = ["distillation={every_n_batches: 4, teachers: {}}"]
TAUGHT = [f"distillation={{every_n_batches: 4, top_k: {TOP_K}, teachers: {{one: {{}}, two: {{}}}}}}"]


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


def prepare_taught(folder: Path, documents: int = 130) -> Path:
    """Prepare small data with a distilled part and two teachers' rows; returns its ``data.dir``."""
    data = prepare(folder, documents, [*TINY, *EVERY_4TH])
    write_rows(data)
    return data
