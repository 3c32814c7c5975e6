"""The project's attention in transformers' models: a window without an s x s mask, and texts with one beginning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from custom_modules.model.segments import Segment
from custom_modules.model.windowed_attention import attend_in_segments, windowed_attention

NAME = "danube"
"""What ``attn_implementation`` calls it."""
SHARING = "danube_sharing"
"""The same of torch's own attention, which takes `Segment`s of a sequence beside its other arguments."""


def register_attention() -> None:
    """Have transformers know the attention by `NAME`; for whole sequences that are padded on their right, if at all.

    Behind a causal mask no token sees such padding, so none of it has to be hidden.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _no_mask)


def register_sharing() -> None:
    """Have transformers know `SHARING`: without segments it is ``sdpa`` to the bit."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    AttentionInterface.register(SHARING, _attend_sharing)
    AttentionMaskInterface.register(SHARING, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


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


def _attend_sharing(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segments: Sequence[Segment] = (),
    **named: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend of each segment to itself and its beginning, for which no mask is asked; without any as ``sdpa`` does."""
    if not segments:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        given = {"scaling": scaling, "sliding_window": sliding_window, **named}
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **given)
        return found
    attend = partial(windowed_attention, window=sliding_window, scale=scaling)
    return attend_in_segments(query, key, value, segments, attend).transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None
