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

MULTIPLE = 32
"""Tokens to a multiple of which a document is filled up where torch attends to it: in bf16 on a CPU torch compiles
kernels for every other length, and keeps them."""


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
        """Each length to which documents are filled up, and how many are, in the order of `order`."""
        return [(length, len(spans)) for length, spans in self._spans.items()]

    @cached_property
    def order(self) -> Tensor:
        """The place of each token where documents of one length lie together, int64 ``[t + filling]``.

        What fills one up are tokens behind it: causal attention has none of its own look at them.
        """
        places = torch.cat([places.flatten() for places, _ in self._laid_out])
        return places.clamp(max=int(self.boundaries[-1]) - 1).to(self.device)

    @cached_property
    def back(self) -> Tensor:
        """The place in `order` of each token, int64 ``[t]``."""
        is_own = torch.cat([is_own.flatten() for _, is_own in self._laid_out])
        places = torch.cat([places[is_own] for places, is_own in self._laid_out])
        back = torch.empty_like(places)
        back[places] = is_own.nonzero().squeeze(1)
        return back.to(self.device)

    @cached_property
    def positions(self) -> Tensor:
        """The place of each token in its document, int64 ``[t]``."""
        starts, lengths = self.boundaries[:-1], self.boundaries.diff()
        tokens = int(self.boundaries[-1])
        return (torch.arange(tokens) - starts.repeat_interleave(lengths, output_size=tokens)).to(self.device)

    @cached_property
    def _laid_out(self) -> list[tuple[Tensor, Tensor]]:
        """For each of `groups` the places of its tokens, and which are a document's own: ``[documents, length]``."""
        found = []
        for length, spans in self._spans.items():
            starts, ends = torch.tensor(spans).unsqueeze(2).unbind(1)
            places = starts + torch.arange(length)
            found.append((places, places < ends))
        return found

    @cached_property
    def _spans(self) -> dict[int, list[tuple[int, int]]]:
        """Begin and end of the documents of each length, the longest first: what attention keeps of it for all layers,
        as ALiBi's mask, is then made once."""
        spans: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for start, end in pairwise(self.boundaries.tolist()):
            spans[-(-(end - start) // MULTIPLE) * MULTIPLE].append((start, end))
        return dict(sorted(spans.items(), reverse=True))


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
