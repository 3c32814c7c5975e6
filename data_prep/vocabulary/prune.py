"""Which tokens of a vocabulary to keep: the least used are dropped, those first that no kept token is merged from.

LokiLM's report has "a pruning method inspired by TokenMonster", and not how it works. TokenMonster too begins with many
tokens and drops the worst, again and again, as it tokenizes a dataset; its own tokenizers are not BPE, as this one is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from custom_modules.tokenizer.byte_bpe import Pair

_LEFT_OF_A_ROUND = 0.7
"""The share of the tokens that a round leaves; then their uses are counted again."""


def prune(
    tokens: Sequence[bytes],
    parents: Sequence[Pair | None],
    size: int,
    count: Callable[[Sequence[int]], NDArray[np.int64]],
) -> list[int]:
    """Choose tokens that merges make of each other and of bytes, all of which stay.

    Args:
        tokens: by rank.
        parents: of each token, from `custom_modules.tokenizer.byte_bpe.find_parents`.
        size: how many to keep, 256 at least.
        count: gives the uses of each of some tokens, when these are the vocabulary.

    Returns:
        The ranks of the tokens that stay, ascending. They are fewer than ``size`` where merges make fewer.
    """
    kept = [rank for rank, token in enumerate(tokens) if len(token) == 1 or parents[rank]]
    while len(kept) > size:
        uses = dict(zip(kept, count(kept).tolist(), strict=True))
        kept = drop_leaves(uses, parents, max(size, int(len(kept) * _LEFT_OF_A_ROUND)))
    return kept


def drop_leaves(uses: dict[int, int], parents: Sequence[Pair | None], size: int) -> list[int]:
    """Drop the least used token that is no kept token's parent, again and again; of equals the one of higher rank.

    Where one was used, its parents are then: that is exact but for words in which other merges come between.

    Args:
        uses: by rank, of the tokens that are there.
        parents: by rank.
        size: how many tokens to keep.

    Returns:
        The ranks that stay, ascending.
    """
    uses = dict(uses)
    children = dict.fromkeys(uses, 0)
    for rank in uses:
        for parent in parents[rank] or ():
            children[parent] += 1
    leaves = [(uses[rank], -rank) for rank in uses if parents[rank] and not children[rank]]
    heapq.heapify(leaves)
    while len(uses) > size:
        _, negative = heapq.heappop(leaves)
        freed, pair = uses.pop(-negative), parents[-negative]
        assert pair is not None
        for parent in pair:
            uses[parent] += freed
            children[parent] -= 1
        leaves_now = [parent for parent in dict.fromkeys(pair) if parents[parent] and not children[parent]]
        for parent in leaves_now:
            heapq.heappush(leaves, (uses[parent], -parent))
    return sorted(uses)
