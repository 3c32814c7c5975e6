"""The lengths of documents that a manifest says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from custom_modules.data.index import IndexedDatasetWriter, open_index
from custom_modules.data.lengths import lengths_of, read_lengths
from custom_modules.data.manifest import Part, read_manifest
from custom_modules.plan.seen import seen_pairs

LENGTHS = np.random.default_rng(0).lognormal(5, 1.5, 20_000).astype(np.int32) + 1


def write_index(folder: Path) -> Path:
    writer = IndexedDatasetWriter(folder / "text", np.dtype("uint16"))
    writer.append(np.zeros(LENGTHS.sum(), np.uint16), LENGTHS)
    writer.finish()
    return folder / "text.idx"


def test_bins_hold_every_document(tmp_path: Path) -> None:
    counted = read_lengths(write_index(tmp_path))
    assert len(counted) < 200
    ends = np.cumsum([documents for documents, _ in counted])
    assert ends[-1] == len(LENGTHS)
    for some, (documents, tokens) in zip(np.split(np.sort(LENGTHS), ends[:-1]), counted, strict=True):
        assert (len(some), int(some.sum())) == (documents, tokens)
        assert some.max() <= some.min() * 17 // 16
        assert some.min() > 31 or some.min() == some.max()


@pytest.mark.parametrize(("seq_length", "window"), [(64, None), (2048, None), (8192, 1000)])
def test_bins_are_as_good_as_the_lengths(tmp_path: Path, seq_length: int, window: int | None) -> None:
    each = tuple((1, int(length)) for length in LENGTHS)
    counted = read_lengths(write_index(tmp_path))
    assert seen_pairs(counted, seq_length, window) == pytest.approx(seen_pairs(each, seq_length, window), rel=2e-4)


def first_part(folder: Path) -> Part:
    manifest = read_manifest(folder)
    assert manifest is not None
    return manifest.parts("stage1", "train")[0]


def test_prepare_writes_them_and_older_data_has_them_in_its_index(prepared: Path, tmp_path: Path) -> None:
    data = shutil.copytree(prepared, tmp_path / "data")
    part = first_part(data)
    lengths = open_index(part.idx).lengths
    assert part.lengths is not None and len(part.lengths) > 20
    assert part.lengths == read_lengths(part.idx) == lengths_of(part)
    assert sum(tokens for _, tokens in part.lengths) == lengths.sum() == part.tokens
    text = (data / "manifest.json").read_text()
    assert max(map(len, text.splitlines())) > 100  # a line each, however long
    older = json.loads(text)
    for stage in older["stages"].values():
        for parts in stage.values():
            for one in parts:
                del one["lengths"]
    (data / "manifest.json").write_text(json.dumps(older))
    old = first_part(data)
    assert old.lengths is None
    assert lengths_of(old) == part.lengths
    old.idx.write_bytes(old.idx.read_bytes()[:-8])
    assert lengths_of(old) is None
    old.idx.unlink()
    assert lengths_of(old) is None
