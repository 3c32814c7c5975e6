"""Cheap checks that a dataset still is what its manifest says, for every start of a run. Needs no torch."""

from __future__ import annotations

import numpy as np

from custom_modules.data.index import open_index
from custom_modules.data.manifest import Part
from custom_modules.data.manifest_file import AGAIN
from custom_modules.errors import UserError

_DOCUMENTS_AT_ONCE = 1 << 20


def verify_part(part: Part, vocab_size: int, eos_id: int, sampled_documents: int = 64) -> None:
    """What megatron-core does not notice when it reads: truncation, foreign pointers, wrong dtype, wrong ids.

    Sizes and the whole index are checked; ids and document ends in a sample, since batches are checked as they are
    read.

    Raises:
        UserError: one line that names the file.
    """
    for kind, file in (("bin", part.bin), ("idx", part.idx)):
        if not file.is_file():
            raise UserError(f"{file}: missing; {AGAIN}")
        size = file.stat().st_size
        if size != part.bytes[kind]:
            raise UserError(f"{file}: {size} bytes, but the manifest says {part.bytes[kind]}; it was cut; {AGAIN}")
    index = open_index(part.idx, remedy=AGAIN)
    lengths, pointers, dtype = index.lengths, index.pointers, index.dtype
    if dtype.name != part.dtype:
        raise UserError(f"{part.idx}: dtype {dtype.name}, but the manifest says {part.dtype}; {AGAIN}")
    end = 0
    for begin in range(0, len(lengths), _DOCUMENTS_AT_ONCE):
        some = lengths[begin : begin + _DOCUMENTS_AT_ONCE]
        ends = end + np.cumsum(some, dtype=np.int64) * dtype.itemsize
        expected = ends - some * np.int64(dtype.itemsize)
        if (some <= 0).any() or not np.array_equal(pointers[begin : begin + len(some)], expected):
            raise UserError(f"{part.idx}: its pointers do not describe {part.bin.name}; {AGAIN}")
        end = int(ends[-1])
    if end != part.bytes["bin"]:
        raise UserError(f"{part.idx}: points to byte {end} of {part.bin.name}, which has {part.bytes['bin']}; {AGAIN}")
    tokens = np.memmap(part.bin, dtype=dtype, mode="r")
    for document in np.unique(np.linspace(0, len(lengths) - 1, sampled_documents, dtype=np.int64)):
        start = int(pointers[document]) // dtype.itemsize
        ids = tokens[start : start + int(lengths[document])]
        if int(ids.max()) >= vocab_size:
            raise UserError(
                f"{part.bin}: document {document} has token id {ids.max()}, "
                f"beyond model.vocab_size={vocab_size}; {AGAIN}"
            )
        if int(ids[-1]) != eos_id:
            raise UserError(f"{part.bin}: document {document} does not end in the end token {eos_id}; {AGAIN}")
