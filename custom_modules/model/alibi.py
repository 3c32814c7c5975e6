"""ALiBi's bias, as a mask of a block of queries or folded into further features of queries and keys.

A query at position i gives the key at j the score ``scale q.k - slope (i - j)``. What is the same for all keys of a
query does not matter to a softmax, so ``scale (q.k + (slope / scale) j)`` is the same attention: a plain causal one,
whose keys have their position as a feature, and queries their slope. One such feature in bf16 would be off by up to 4
in a score at 2,048 tokens; in parts that bf16 holds exactly, it is not.
"""

from __future__ import annotations

import functools

import torch
from megatron.core import parallel_state
from torch import Tensor

from custom_modules.architecture.alibi import BLOCK, FEATURES, slopes
from custom_modules.model.context_parallel import token_positions
from custom_modules.model.windowed_attention import attend_in_blocks

COARSE = 256
"""Positions are ``COARSE a + b``: bf16 has 8 bits of precision, which hold a and b up to 256."""

PARTS = 3
"""bf16 numbers whose sum is a slope, with the 24 bits of fp32."""


def rank_slopes(heads: int) -> tuple[float, ...]:
    """Return the slopes of this tensor-parallel rank's heads, of ``heads`` in all."""
    rank, size = parallel_state.get_tensor_model_parallel_rank(), parallel_state.get_tensor_model_parallel_world_size()
    here = heads // size
    return slopes(heads)[rank * here : (rank + 1) * here]


def biased_attention(
    query: Tensor, key: Tensor, value: Tensor, slopes: tuple[float, ...], scale: float | None = None
) -> Tensor:
    """Causal attention with ALiBi, whose bias is a mask of a block of queries: no matrix of s x s.

    Args:
        query: ``[b, heads, q, d]``, of the last q positions.
        key, value: ``[b, groups, s, d]``, of all s.
        slopes: of the heads.
        scale: of the scores; None for ``d ** -0.5``.

    Returns:
        ``[b, heads, q, d]``.
    """
    bias = _bias(slopes, key.shape[2], query.dtype, query.device)
    longest = bias.shape[2] - BLOCK

    def visible(start: int, end: int) -> tuple[int, Tensor]:
        return 0, bias[None, :, : end - start, longest - start : longest - start + end]

    return attend_in_blocks(query, key, value, BLOCK, visible, scale)


_biases: dict[tuple[object, ...], Tensor] = {}
"""The longest bias that was asked for, for all shorter ones too."""


def _bias(slopes: tuple[float, ...], length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[heads, BLOCK, longest + BLOCK]``, where ``longest`` is ``length`` or more: query r of a block sees key u with
    ``slope (u - longest - r)``, of which there is nothing above 0 but minus infinity."""
    wanted = (slopes, dtype, device)
    found = _biases.get(wanted)
    if found is None or found.shape[2] < length + BLOCK:
        rows = torch.arange(BLOCK, device=device)[:, None]
        behind = torch.arange(-length, BLOCK, device=device) - rows
        each = torch.tensor(slopes, dtype=dtype, device=device)[:, None, None]
        found = _biases[wanted] = (each * behind).masked_fill_(behind > 0, -torch.inf)
    return found


def fold(query: Tensor, slopes: Tensor, key: Tensor, positions: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Append the features to queries and keys, and as many zeros to values: attention kernels take one width.

    Args:
        query, key, value: ``[..., d]``.
        slopes: of `query_features`, with axes to expand.
        positions: of `key_features`, with axes to expand.

    Returns:
        Each ``[..., d + FEATURES]``, in the dtype it came in.
    """
    query = torch.cat([query, slopes.expand(*query.shape[:-1], FEATURES)], dim=-1)
    key = torch.cat([key, positions.expand(*key.shape[:-1], FEATURES)], dim=-1)
    return query, key, torch.nn.functional.pad(value, (0, FEATURES))


@functools.lru_cache(maxsize=4)
def query_features(slopes: tuple[float, ...], scale: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the parts of ``slope / scale``, each for both parts of a position: ``[heads, FEATURES]``."""
    rest, parts = torch.tensor(slopes, dtype=torch.float64) / scale, []
    for _ in range(PARTS):
        part = rest.to(dtype)
        parts += [part, part]
        rest = rest - part.to(torch.float64)
    return _padded(parts).to(device)


@functools.lru_cache(maxsize=8)
def key_features(length: int, rank: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the parts of the positions in the whole sequence of a context-parallel rank's tokens, once for each part
    of a slope: ``[length, FEATURES]``."""
    positions = token_positions(length, rank, size)
    fine = positions % COARSE
    return _padded([part.to(dtype) for part in (positions - fine, fine)] * PARTS).to(device)


def _padded(features: list[Tensor]) -> Tensor:
    stacked = torch.stack(features, dim=-1)
    return torch.nn.functional.pad(stacked, (0, FEATURES - len(features)))
