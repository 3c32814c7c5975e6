"""Several texts in one sequence, of which some begin with the same tokens: these are computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from custom_modules.model.segments import Segment
from custom_modules.model.windowed_attention import attend_in_segments


@dataclass(frozen=True)
class Branches:
    """Given to a model where megatron-core's ``PackedSeqParams`` would be; the local layers' attention knows it."""

    segments: tuple[Segment, ...]
    """In the sequence's order, without gaps; what stands behind them is of no text."""
    positions: Tensor
    """``[s]``, int64, on the model's device: each token's place in its text."""

    qkv_format: ClassVar[str] = "sbhd"
    cp_group: ClassVar[None] = None

    @property
    def max_seqlen_q(self) -> int:
        """Return s: megatron-core makes the rotary embedding of so many places."""
        return len(self.positions)

    @property
    def max_seqlen_kv(self) -> int:
        """Return s."""
        return len(self.positions)


def attend_by_branches(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    branches: Branches,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Attend in each text by itself; arguments and result as `attend_in_segments` has them."""
    return attend_in_segments(query, key, value, branches.segments, attend)
