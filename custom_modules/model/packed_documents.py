"""Documents that don't see each other: a micro-batch as one row of tokens, with the lengths of what is in it.

This is megatron-core's and Transformer Engine's packed format, ``thd``. Where torch attends, documents of one length do
so together; nowhere is there a mask of a whole sequence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import pairwise

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from custom_modules.data.documents import CU_SEQLENS


class PackedDocuments(PackedSeqParams):
    """What megatron-core asks of packed sequences, and how to attend to them with torch.

    Args:
        boundaries: `CU_SEQLENS`, on the host.
        longest: tokens that a document may have.
        device: where the tokens are.
        fused: Transformer Engine's kernels read where documents begin, on the device; else it is read on the host.
    """

    def __init__(self, boundaries: Tensor, longest: int, device: torch.device, fused: bool) -> None:
        cu_seqlens = boundaries.to(device, non_blocking=True) if fused else boundaries
        super().__init__(
            qkv_format="thd",
            cu_seqlens_q=cu_seqlens,
            cu_seqlens_kv=cu_seqlens,
            # Not of the longest that is there: kernels would be chosen anew each time, and the host wait for it.
            max_seqlen_q=longest,
            max_seqlen_kv=longest,
        )
        self.boundaries = boundaries
        self.longest = longest
        self.device = device

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """Each length that a document has, and how many documents have it, in the order of `order`."""
        return [(length, len(starts)) for length, starts in self._starts.items()]

    @cached_property
    def order(self) -> Tensor:
        """The place of each token where documents of one length lie together, int64 ``[t]``."""
        places = [
            (torch.tensor(starts)[:, None] + torch.arange(length)).flatten() for length, starts in self._starts.items()
        ]
        return torch.cat(places).to(self.device)

    @cached_property
    def back(self) -> Tensor:
        """The inverse of `order`."""
        return self.order.argsort()

    @cached_property
    def positions(self) -> Tensor:
        """The place of each token in its document, int64 ``[t]``."""
        starts, lengths = self.boundaries[:-1], self.boundaries.diff()
        tokens = int(self.boundaries[-1])
        return (torch.arange(tokens) - starts.repeat_interleave(lengths, output_size=tokens)).to(self.device)

    @cached_property
    def _starts(self) -> dict[int, list[int]]:
        """Where the documents of each length begin."""
        starts: defaultdict[int, list[int]] = defaultdict(list)
        for start, end in pairwise(self.boundaries.tolist()):
            starts[end - start].append(start)
        return starts


def packed_documents(batch: Mapping[str, Tensor], fused: bool) -> PackedDocuments | None:
    """Return the documents of a micro-batch; None: a token sees what is before it in its row, whatever that is of.

    Args:
        batch: with ``tokens`` ``[b, s]``, on the device.
        fused: as `PackedDocuments` has it.
    """
    if CU_SEQLENS not in batch:
        return None
    tokens = batch["tokens"]
    return PackedDocuments(batch[CU_SEQLENS], tokens.shape[1], tokens.device, fused)


def attend_by_documents(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    documents: PackedDocuments,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Attend in each document by itself.

    Args:
        query: ``[t, heads, d]``.
        key, value: ``[t, groups, d]``.
        attend: takes them as ``[n, heads or groups, length, d]``, and returns ``[n, heads, length, d]``.

    Returns:
        ``[t, heads, d]``.
    """
    sizes = [length * count for length, count in documents.groups]
    parts = [tensor.index_select(0, documents.order).split(sizes) for tensor in (query, key, value)]
    attended = []
    for (length, count), *those in zip(documents.groups, *parts, strict=True):
        each = (tensor.unflatten(0, (count, length)).transpose(1, 2) for tensor in those)
        attended.append(attend(*each).transpose(1, 2).flatten(0, 1))
    return torch.cat(attended).index_select(0, documents.back)


def in_one_row(tensor: Tensor) -> Tensor:
    """``[b, s, ...]`` -> ``[1, b s, ...]``."""
    return tensor.flatten(0, 1).unsqueeze(0)
