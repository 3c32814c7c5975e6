"""Tensors of several ranks, along the first dimension."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def gathered(tensor: Tensor, group: Any) -> Tensor:
    """Return those of all ranks, one behind the other."""
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(group.size())]
    torch.distributed.all_gather(parts, tensor.contiguous(), group=group)
    return torch.cat(parts)


def summed(tensor: Tensor, group: Any) -> Tensor:
    """Return the sum over the ranks."""
    total = tensor.contiguous().clone()
    torch.distributed.all_reduce(total, group=group)
    return total


def summed_and_scattered(tensor: Tensor, group: Any) -> Tensor:
    """Return this rank's part of the sum over the ranks."""
    return summed(tensor, group).chunk(group.size())[group.rank()].clone()
