"""Large files: what is written to them is cut into small pieces, and hashed on the way."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PIECE_BYTES = 256 * 1024
"""The size of one write. Whole tensors took twice as long on a virtual machine that gives its free memory back to the
host."""

AHEAD = 3
"""Tensors that are read ahead: half a layer, since the small ones leave no time to read a large one."""

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "F16": torch.float16}
"""torch's dtypes by their names in safetensors."""


class PiecewiseFile(io.BufferedWriter):
    """A new file that is written in pieces of `PIECE_BYTES`."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE_BYTES):
            super().write(view[start : start + PIECE_BYTES])
        return len(view)


class HashedFile(PiecewiseFile):
    """A new file whose SHA-256 is computed while it is written, and known without reading it."""

    def __init__(self, path: Path) -> None:
        self._sha256 = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(1)
        super().__init__(path)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if len(view) < PIECE_BYTES:
            self._sha256.update(view)
            return super().write(view)
        hashed = self._hasher.submit(self._sha256.update, view)
        try:
            return super().write(view)
        finally:
            hashed.result()

    def close(self) -> None:
        self._hasher.shutdown()
        super().close()


class SafetensorsFile(PiecewiseFile):
    """A new safetensors file, written tensor by tensor: the library wants all tensors of a file at once.

    Args:
        shapes: of its tensors by name, in the order in which they will come.
        dtype: of all of them.
    """

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> None:
        super().__init__(path)
        self._expected = iter(shapes.items())
        self._dtype = dtype
        kind = next(name for name, known in DTYPES.items() if known == dtype)
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in shapes.items():
            begin, end = end, end + torch.Size(shape).numel() * dtype.itemsize
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": (begin, end)}
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % 8)
        self.write(len(encoded).to_bytes(8, "little") + encoded)

    def add(self, name: str, tensor: Tensor) -> None:
        """Write the next tensor."""
        expected = next(self._expected)
        assert (name, tuple(tensor.shape), tensor.dtype) == (*expected, self._dtype)
        self.write(tensor.contiguous().view(-1).view(torch.uint8).numpy())
