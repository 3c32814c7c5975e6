"""What a matrix is drawn from before training, without megatron-core."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from custom_modules.config.schema import ModelConfig


def draw(name: str, shape: tuple[int, int], model: ModelConfig, seed: int) -> Tensor:
    """A whole matrix from N(0, std), in fp32: the same for one seed and name, on every layout and number of threads.

    As in megatron-core, the two matrices that write to the residual stream have ``std / sqrt(2 * num_layers)``.

    Args:
        name: megatron-core's, in a distributed checkpoint.
    """
    residual = "linear_proj" in name or "linear_fc2" in name
    std = model.init_method_std / math.sqrt(2.0 * model.num_layers) if residual else model.init_method_std
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return torch.empty(shape, dtype=torch.float32).normal_(0.0, std, generator=generator)
