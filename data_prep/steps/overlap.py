"""Common runs of words between a document and many short texts: an index of word n-grams, searched with numpy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.text.spelling import WORD, split_words

Ints = NDArray[np.integer[Any]]
Hashes = NDArray[np.uint64]

_FACTOR = 0x9E3779B97F4A7C15
_PAIRS = 1 << 18


@dataclass(frozen=True, slots=True)
class Overlap:
    """The longest run of words that a document has in common with an item."""

    item: int
    words: int
    characters: int
    """Of scripts without spaces, where each is counted here and not as a word."""


class _Run(NamedTuple):
    """What a run counts, in quarters of a word, and what it is of."""

    size: int
    words: int
    characters: int


@dataclass(frozen=True)
class BenchmarkWords:
    """The texts to look for, one after another.

    ``words`` holds word ids from 1, with a -1 before, between and behind the texts, and ``quarters`` what each counts,
    0 for a -1; the other arrays have one value per text: where it starts in ``words``, its length in words, its item,
    and whether it is the item's own rather than a prompt made of it. ``identity`` has one per item: items of equal own
    texts share it.
    """

    vocabulary: Mapping[str, int]
    words: NDArray[np.int32]
    quarters: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    items: NDArray[np.int64]
    own: NDArray[np.bool_]
    identity: NDArray[np.int64]

    def text_of(self, positions: Ints) -> Ints:
        return np.searchsorted(self.starts, positions, side="right") - 1

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """What each text counts, in quarters of a word."""
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.quarters, dtype=np.int64)])
        return total[self.starts + self.lengths] - total[self.starts]


@dataclass(frozen=True)
class NgramTable:
    """Where in a corpus the n-grams of one length begin, by their 64-bit hash.

    ``length`` is n, in words; ``hashes`` are sorted, and ``positions`` in ``BenchmarkWords.words`` in their order.
    """

    length: int
    hashes: Hashes
    positions: NDArray[np.int64]

    def search(self, ids: NDArray[np.int32], at: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Blocks of pairs of equal hashes: a place in a document, of those given, and a position in the corpus."""
        at = at[at <= len(ids) - self.length]
        windows = ids[at[:, None] + np.arange(self.length)]
        hashes = window_hashes(windows.ravel(), self.length)[:: self.length]
        first = np.searchsorted(self.hashes, hashes, side="left")
        counts = np.searchsorted(self.hashes, hashes, side="right") - first
        at, first, counts = at[counts > 0], first[counts > 0], counts[counts > 0]
        block = np.cumsum(counts) // _PAIRS
        for number in np.unique(block):
            here = block == number
            offsets = np.arange(counts[here].sum()) - np.repeat(np.cumsum(counts[here]) - counts[here], counts[here])
            yield np.repeat(at[here], counts[here]), self.positions[np.repeat(first[here], counts[here]) + offsets]


class _Beginnings:
    """The first few words of all n-grams, as sorted hashes: nearly all places in a document begin with none of them."""

    def __init__(self, corpus: BenchmarkWords, tables: Sequence[NgramTable]) -> None:
        self.length = min(table.length for table in tables)
        positions = np.concatenate([table.positions for table in tables])
        self._hashes = np.unique(window_hashes(corpus.words, self.length)[positions])
        bits = min(max(len(self._hashes) * 8, 1 << 10).bit_length(), 28)
        self._shift = np.uint64(64 - bits)
        # One look into this spares most places the search among millions.
        self._known = np.zeros(1 << bits, np.bool_)
        self._known[self._hashes >> self._shift] = True

    def search(self, ids: NDArray[np.int32]) -> Ints:
        """The other places."""
        hashes = window_hashes(ids, self.length)
        at = np.flatnonzero(self._known[(hashes >> self._shift).view(np.int64)])
        hashes = hashes[at]
        nearest = np.searchsorted(self._hashes, hashes).clip(max=len(self._hashes) - 1)
        return at[self._hashes[nearest] == hashes]


class OverlapIndex:
    """Finds the item that a document has most in common with.

    Args:
        corpus: the texts.
        tables: the n-grams that may be part of a match, of one length each, shortest first.
        ngram: words. A run counts if it is as long, or is the whole of a text.
    """

    def __init__(self, corpus: BenchmarkWords, tables: Sequence[NgramTable], ngram: int) -> None:
        self._corpus = corpus
        self._needed = np.minimum(corpus.sizes, WORD * ngram)
        self._tables = tables
        self._beginnings = _Beginnings(corpus, tables) if tables else None
        found = [corpus.items[corpus.text_of(table.positions)] for table in tables]
        self.searched_items: set[int] = set(np.unique(np.concatenate(found)).tolist()) if found else set()
        """The items that can be found: those with an n-gram in a table."""

    def find(self, text: str) -> Overlap | None:
        """The item with the longest run of words in common, None where no n-gram matches.

        A run is a match, verified word by word and extended both ways as far as the words agree. An item with a match
        in its own texts goes before one whose prompt alone has a match, then the longer run, then the earlier item.
        """
        words = split_words(text)
        if self._beginnings is None or len(words) < self._beginnings.length:
            return None
        ids = np.fromiter(map(self._corpus.vocabulary.get, words, repeat(0)), np.int32, len(words))
        longest: dict[int, _Run] = {}
        own: dict[int, bool] = defaultdict(bool)
        begins = self._beginnings.search(ids)
        for table in self._tables if len(begins) else ():
            for at, positions in table.search(ids, begins):
                for text_number, run in self._runs(ids, at, positions, table.length):
                    item = int(self._corpus.items[text_number])
                    longest[item] = max(longest.get(item, run), run)
                    own[item] |= bool(self._corpus.own[text_number])
        if not longest:
            return None
        best = max(longest, key=lambda item: (own[item], longest[item], -item))
        return Overlap(best, longest[best].words, longest[best].characters)

    def _runs(self, ids: NDArray[np.int32], at: Ints, positions: Ints, length: int) -> Iterator[tuple[int, _Run]]:
        """Return the maximal runs around pairs of equal hashes that count, each with its text.

        Pairs that follow one another in both sequences lie in the same run, which is extended once for all of them.
        """
        corpus = self._corpus
        window = np.arange(length)
        equal = (ids[at[:, None] + window] == corpus.words[positions[:, None] + window]).all(axis=1)
        at, positions = at[equal], positions[equal]
        order = np.lexsort((at, positions - at))
        at, positions = at[order], positions[order]
        begins = np.ones(len(at), np.bool_)
        begins[1:] = (np.diff(at) != 1) | (np.diff(positions) != 1)
        texts = corpus.text_of(positions[begins])
        ends = np.append(np.flatnonzero(begins)[1:], len(at)) - 1
        for text, i, p, last in zip(texts, at[begins], positions[begins], at[ends], strict=True):
            start = corpus.starts[text]
            stop = start + corpus.lengths[text]
            before = _agreeing(ids[:i][::-1], corpus.words[start:p][::-1])
            behind = _agreeing(ids[i:], corpus.words[p:stop], int(last - i) + length)
            quarters = corpus.quarters[p - before : p + behind]
            size, characters = int(quarters.sum()), int((quarters < WORD).sum())
            if size >= self._needed[text]:
                yield int(text), _Run(size, before + behind - characters, characters)


def window_hashes(ids: NDArray[np.int32], length: int) -> Hashes:
    """A hash of the ``length`` words from each place on that has as many."""
    if len(ids) < length:
        return np.zeros(0, np.uint64)
    return _polynomials(ids.astype(np.uint64), length) * np.uint64(_FACTOR)


def _polynomials(values: Hashes, length: int) -> Hashes:
    if length == 1:
        return values
    half = length // 2
    sums = _polynomials(values, half)
    sums = sums[:-half] * np.uint64(pow(_FACTOR, half, 1 << 64)) + sums[half:]
    return sums[:-1] * np.uint64(_FACTOR) + values[length - 1 :] if length % 2 else sums


def _agreeing(left: Ints, right: Ints, known: int = 0) -> int:
    """How many values from the start on are equal, of which ``known`` are known to be."""
    size = min(len(left), len(right))
    differing = np.flatnonzero(left[known:size] != right[known:size])
    return known + int(differing[0]) if len(differing) else size
