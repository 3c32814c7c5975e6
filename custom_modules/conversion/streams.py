"""Large files of tensors, written in small pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from custom_modules.run_folder.hashed_files import PIECE_BYTES as PIECE_BYTES
from custom_modules.run_folder.hashed_files import HashedFile as HashedFile
from custom_modules.run_folder.hashed_files import PiecewiseFile

AHEAD = 3
"""Tensors that are read ahead: half a layer, since the small ones leave no time to read a large one."""

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "F16": torch.float16}
"""torch's dtypes by their names in safetensors."""


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
