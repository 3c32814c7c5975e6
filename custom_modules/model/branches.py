"""Several texts in one sequence, of which some begin with the same tokens: these are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from custom_modules.model.segments import Segment


@dataclass
class Branches(PackedSeqParams):
    """Given to a model in the place of megatron-core's lengths; the local layers' attention knows it."""

    segments: tuple[Segment, ...] = ()
    """In the sequence's order, without gaps; what stands behind them is of no text."""
    positions: Tensor | None = None
    """``[s]``, int64: each token's place in its text."""


def make_branches(segments: Sequence[Segment], positions: Tensor) -> Branches:
    """Return them for one sequence.

    Args:
        positions: ``[s]``, int64, on the model's device.
    """
    length = len(positions)
    return Branches(
        qkv_format="sbhd",
        max_seqlen_q=length,
        max_seqlen_kv=length,
        segments=tuple(segments),
        positions=positions,
    )
