"""The writing of a teacher's rows: shard by shard, by several processes in any order, into one file that is
published when it is whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.distillation.quantised import quantise
from custom_modules.distillation.record import record_bytes
from custom_modules.distillation.rows import MOST_IDS, RowsNote, note_file, record_dtype
from custom_modules.errors import UserError
from custom_modules.files import explained, sync
from custom_modules.system import to_disk


def make_records(ids: NDArray[np.integer], probabilities: NDArray[np.floating]) -> NDArray[Any]:
    """Return records of ids and probabilities, [n, k] each, with the probabilities quantised.

    An id whose probability comes back as 0 is written as 0: it says nothing, and compresses.
    """
    records = np.zeros(len(ids), record_dtype(ids.shape[-1]))
    records["codes"] = quantise(probabilities)
    records["ids"] = np.where(records["codes"] > 0, ids, 0)
    return records


def check_vocabulary(vocab_size: int) -> None:
    """Refuse a vocabulary whose ids do not fit into a record.

    Raises:
        UserError: it is too large.
    """
    if vocab_size > MOST_IDS:
        raise UserError(
            f"model.vocab_size={vocab_size}: teachers' rows have ids of 16 bits, for vocabularies of up to {MOST_IDS}; "
            "take a smaller tokenizer (`danube prune-tokenizer`), or teachers with targets: text"
        )


def reserve_rows(aside: Path, tokens: int, k: int) -> None:
    """Make the file that shards are written into; one that is there stays.

    Raises:
        UserError: the disk refuses.
    """
    with explained(aside):
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.ftruncate(descriptor, tokens * record_bytes(k))
        finally:
            os.close(descriptor)


def write_shard(aside: Path, token: int, records: NDArray[Any]) -> None:
    """Put the records of a shard, whose first is that of token ``token``, into the file and on the disk.

    Raises:
        UserError: the disk refuses.
    """
    with explained(aside):
        descriptor = os.open(aside, os.O_RDWR)
        try:
            content = np.ascontiguousarray(records).view(np.uint8).data
            place = token * records.dtype.itemsize
            while content:
                written = os.pwrite(descriptor, content, place)
                content, place = content[written:], place + written
            to_disk(descriptor)
        finally:
            os.close(descriptor)


def publish_rows(aside: Path, rows: Path, note: RowsNote) -> None:
    """Put a file that all shards have been written into in its place, with its note; one that is there already gets
    the note alone.

    Raises:
        UserError: the disk refuses.
    """
    with explained(rows):
        note_file(rows).unlink(missing_ok=True)
        if aside.exists():
            aside.replace(rows)
        sync(rows.parent)
    note.write(rows)
