"""Large files hold what was written to them, and their hash is right."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from custom_modules.conversion.streams import DTYPES, PIECE_BYTES, HashedFile, SafetensorsFile

SIZES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 5 * PIECE_BYTES + 7, 12]


def test_the_hash_is_the_files(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    parts = [source.bytes(size) for size in SIZES]
    with HashedFile(tmp_path / "file") as stream:
        for part, position in zip(parts, itertools.accumulate(SIZES), strict=True):
            assert stream.write(part) == len(part)
            assert stream.tell() == position
    content = (tmp_path / "file").read_bytes()
    assert content == b"".join(parts)
    assert stream.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_safetensors_reads_what_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    source = torch.Generator().manual_seed(0)
    shapes = {"large": (700, 400), "vector": (3,), "é": (2, 5, 7), "none": (0, 4)}
    tensors = {name: torch.randn(shape, generator=source).to(dtype) for name, shape in shapes.items()}
    tensors["large"] = tensors["large"].view(400, 700).T
    with SafetensorsFile(tmp_path / "file", shapes, dtype) as file:
        for name, tensor in tensors.items():
            file.add(name, tensor)
    loaded = load_file(tmp_path / "file")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == dtype
        assert torch.equal(loaded[name], tensor)
