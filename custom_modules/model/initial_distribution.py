"""What a matrix is drawn from before training, without megatron-core."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def draw(name: str, shape: tuple[int, ...], std: float, seed: int) -> Tensor:
    """Draw a whole matrix from N(0, std), in fp32: the same for one seed and name, on every layout and number of
    threads.

    Args:
        name: megatron-core's, in a distributed checkpoint, with the number of the layer behind it.
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return torch.empty(shape, dtype=torch.float32).normal_(0.0, std, generator=generator)
