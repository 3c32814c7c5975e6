from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder

from custom_modules.data import index
from custom_modules.data.index import IndexedDatasetWriter, token_dtype


@pytest.mark.parametrize("vocab_size", [32_000, 65_499, 65_500, 200_000])
def test_the_files_are_those_of_megatrons_own_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vocab_size: int
) -> None:
    monkeypatch.setattr(index, "_CHUNK", 7)
    dtype = token_dtype(vocab_size)
    assert dtype == np.dtype(DType.optimal_dtype(vocab_size))
    source = np.random.default_rng(0)
    documents = [source.integers(0, vocab_size, size=size) for size in source.integers(1, 50, size=100)]

    reference = IndexedDatasetBuilder(str(tmp_path / "reference.bin"), dtype=DType.optimal_dtype(vocab_size))
    for document in documents:
        reference.add_document(torch.from_numpy(document), [len(document)])
    reference.finalize(str(tmp_path / "reference.idx"))

    writer = IndexedDatasetWriter(tmp_path / "ours", dtype)
    for start in range(0, 100, 30):
        batch = documents[start : start + 30]
        writer.append(np.concatenate(batch).astype(dtype), np.array([len(document) for document in batch], np.int32))
    data, idx = writer.finish()

    read = index.open_index(tmp_path / "ours.idx")
    assert (read.dtype, read.documents, read.tokens) == (dtype, 100, sum(map(len, documents)))
    assert read.lengths.tolist() == [len(document) for document in documents]
    assert read.boundaries(0, 100).tolist() == [0, *accumulate(map(len, documents))]

    for suffix, written in (("bin", data), ("idx", idx)):
        content = (tmp_path / f"ours.{suffix}").read_bytes()
        assert content == (tmp_path / f"reference.{suffix}").read_bytes()
        assert written.bytes == len(content)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ours.bin",
        "ours.idx",
        "reference.bin",
        "reference.idx",
    ]
