"""The project's attention in transformers' models: a window without a matrix of s x s."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from custom_modules.model.windowed_attention import windowed_attention

NAME = "danube"
"""What ``attn_implementation`` calls it."""


def register_attention() -> None:
    """Have transformers know the attention by `NAME`; for whole sequences that are padded on their right, if at all.

    Behind a causal mask no token sees such padding, so none of it has to be hidden.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _no_mask)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers asks for it.

    Args:
        query: ``[b, heads, s, d]``.
        key, value: ``[b, groups, s, d]``.
        sliding_window: how many tokens are visible, the token itself among them; None: all before it.

    Returns:
        ``[b, s, heads, d]``, and no weights.
    """
    assert dropout == 0.0, "the models of this project have no dropout in attention"
    return windowed_attention(query, key, value, sliding_window, scaling).transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None
