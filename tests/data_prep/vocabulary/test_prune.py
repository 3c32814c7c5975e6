"""Which tokens stay, against the rule done slowly."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from custom_modules.tokenizer.byte_bpe import find_parents
from data_prep.vocabulary.prune import drop_leaves, prune
from data_prep.vocabulary.train import train_tokens
from data_prep.vocabulary.words import words
from tests.support.tiktoken_files import encoding_of
from tests.support.tokenizers import ENGLISH


@pytest.fixture(scope="module")
def tokens() -> list[bytes]:
    return train_tokens(ENGLISH, 700)


WORDS = Counter(word for text in ENGLISH[:12] for word in words(text))


def uses_of(tokens: Sequence[bytes]) -> list[int]:
    """How often tiktoken uses each."""
    encoding, found = encoding_of(tokens), Counter[int]()
    for word, number in WORDS.items():
        for rank in encoding.encode_ordinary(word):
            found[rank] += number
    return [found[rank] for rank in range(len(tokens))]


def drop_slowly(uses: dict[int, int], parents: Sequence[tuple[int, int] | None], size: int) -> list[int]:
    left = dict(uses)
    while len(left) > size:
        needed = {parent for rank in left for parent in parents[rank] or ()}
        leaves = [rank for rank in left if parents[rank] and rank not in needed]
        gone = min(leaves, key=lambda rank: (left[rank], -rank))
        number = left.pop(gone)
        for parent in parents[gone] or ():
            left[parent] += number
    return sorted(left)


@pytest.mark.parametrize("seed", range(4))
def test_the_least_used_leaf_goes_first(tokens: list[bytes], seed: int) -> None:
    parents, source = find_parents(tokens), random.Random(seed)
    uses = {rank: source.choice((0, 0, source.randrange(5), source.randrange(10**12))) for rank in range(len(tokens))}
    for size in (690, 400, 256):
        assert drop_leaves(uses, parents, size) == drop_slowly(uses, parents, size)


def test_uses_are_counted_again_on_the_way(tokens: list[bytes]) -> None:
    parents, asked = find_parents(tokens), []

    def count(kept: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        asked.append(list(kept))
        return np.array(uses_of([tokens[rank] for rank in kept]), np.int64)

    kept = prune(tokens, parents, 300, count)
    assert (
        len(kept) == 300
        and kept == sorted(kept)
        and {bytes([byte]) for byte in range(256)} <= {tokens[r] for r in kept}
    )
    assert all(parent in kept for rank in kept for parent in parents[rank] or ())
    assert asked[0] == list(range(700)) and len(asked) > 2
    step = asked[0]
    for next_step in [*asked[1:], kept]:
        uses = dict(zip(step, uses_of([tokens[rank] for rank in step]), strict=True))
        assert next_step == drop_slowly(uses, parents, len(next_step))
        step = next_step


def test_what_merges_do_not_make_goes_before_all_else(tokens: list[bytes]) -> None:
    odd = [*tokens, b"zqzqzq"]
    kept = prune(odd, find_parents(odd), 700, lambda kept: np.zeros(len(kept), np.int64))
    assert kept == list(range(700))
