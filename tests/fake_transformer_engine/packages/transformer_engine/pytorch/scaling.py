"""Values as FP8 stands for them, in fp32: by one scale for a tensor, or by one for each block of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_engine.common.recipe import Format, Recipe

BLOCK = 128
"""Elements that share a scale in block scaling: so many of a row, or of a column; of a weight, a square of them."""


def fp8_dtype(recipe: Recipe, backward: bool) -> torch.dtype:
    """Return the dtype that a recipe's tensors have in a direction."""
    return torch.float8_e5m2 if backward and recipe.fp8_format is Format.HYBRID else torch.float8_e4m3fn


def largest_value(dtype: torch.dtype) -> float:
    """Return the largest number of a dtype."""
    return torch.finfo(dtype).max


def scales_for(largest: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what maps the largest absolute values to the dtype's own; 1 for those that are 0."""
    return torch.where(largest > 0, largest_value(dtype) / largest, 1.0)


def rounded(tensor: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Scale, saturate, round to FP8 and scale back.

    Args:
        scale: fp32, broadcast to the tensor.

    Returns:
        fp32, of the tensor's shape.
    """
    limit = largest_value(dtype)
    return (tensor.float() * scale).clamp(-limit, limit).to(dtype).float() / scale


def rounded_by_tensor(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Round with the tensor's own scale."""
    return rounded(tensor, scales_for(tensor.abs().amax().float(), dtype), dtype)


def rounded_by_blocks(matrix: Tensor, dtype: torch.dtype, rows: int, columns: int) -> Tensor:
    """Round ``[m, n]`` with a power of two as scale for every ``[rows, columns]`` of it; the last may be cut."""
    height, width = matrix.shape
    padded = F.pad(matrix.float(), (0, -width % columns, 0, -height % rows))
    blocks = padded.unflatten(1, (-1, columns)).unflatten(0, (-1, rows))
    scales = scales_for(blocks.abs().amax(dim=(1, 3), keepdim=True), dtype)
    powers = torch.exp2(torch.log2(scales).floor())
    return rounded(blocks, powers, dtype).flatten(2, 3).flatten(0, 1)[:height, :width]
