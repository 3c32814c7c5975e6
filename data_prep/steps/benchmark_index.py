"""The index of benchmark texts that decontamination searches, and which n-grams are in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_prep.steps.benchmark_texts import BenchmarkFile, Record, read_benchmark
from data_prep.steps.overlap import BenchmarkWords, Hashes, NgramTable, OverlapIndex, window_hashes
from data_prep.text.spelling import WORD, quarters, split_words


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What an index follows from, beside the texts."""

    ngram: int
    """Words of an n-gram."""
    min_words: int
    """Words of the shortest text that is looked for, as a whole, where it is shorter than an n-gram."""
    max_items: int
    """Items that an n-gram may be in; one that is in more is a common phrase."""


@dataclass(frozen=True, slots=True)
class Item:
    benchmark: str
    number: int
    """The line that it begins at in the benchmark's file, from 1."""


@dataclass(frozen=True)
class BenchmarkIndex:
    """Benchmarks' items, with an index of their texts that knows ``items`` by their place there."""

    items: list[Item]
    overlaps: OverlapIndex
    too_short: frozenset[int]
    """The items without a text that is long enough, own or prompt."""


def build_index(files: Iterable[BenchmarkFile], options: IndexOptions) -> BenchmarkIndex:
    """Read benchmarks and index them.

    Records of one benchmark with the same texts, as the harness writes for each of its filters, are one item: the
    first. An n-gram is left out, as a common phrase, if it is in the own texts of more than ``max_items`` items; a
    prompt's also if that many prompts or texts have it. An item that serves as an example in many prompts is thus
    found all the same. Items with equal texts, as in two runs of one benchmark, count once. An n-gram that repeats one
    to three words over and over, such as a row of zeros, is left out too.

    Raises:
        UserError: a file that cannot be read.
    """
    builder = _Builder(options)
    for file in files:
        for record in read_benchmark(file):
            builder.add(file.name, record)
    corpus = builder.corpus()
    overlaps = OverlapIndex(corpus, list(_tables(corpus, options)), options.ngram)
    too_short = frozenset(range(len(builder.items))) - frozenset(corpus.items.tolist())
    return BenchmarkIndex(builder.items, overlaps, too_short)


class _GrowingVocabulary(dict[str, int]):
    """Numbers words from 1 as they come; ``quarters`` has by number what each counts."""

    def __init__(self) -> None:
        super().__init__()
        self.quarters = [0]

    def __missing__(self, word: str) -> int:
        self.quarters.append(quarters(word))
        return self.setdefault(word, len(self) + 1)


@dataclass
class _Builder:
    options: IndexOptions
    items: list[Item] = field(default_factory=list)
    _vocabulary: _GrowingVocabulary = field(default_factory=_GrowingVocabulary)
    _identities: dict[bytes, int] = field(default_factory=dict)
    _identity: list[int] = field(default_factory=list)
    _known: dict[tuple[str, int], int] = field(default_factory=dict)
    _seen: set[tuple[int, bytes]] = field(default_factory=set)
    _texts: list[NDArray[np.int32]] = field(default_factory=list)
    _text_items: list[int] = field(default_factory=list)
    _text_own: list[bool] = field(default_factory=list)

    def add(self, benchmark: str, record: Record) -> None:
        texts = [self._encode(text) for text in record.texts]
        prompts = [self._encode(prompt) for prompt in record.prompts]
        content = hashlib.blake2b(b"/".join(words.tobytes() for words in texts or prompts), digest_size=16).digest()
        identity = self._identities.setdefault(content, len(self._identities))
        item = self._known.setdefault((benchmark, identity), len(self.items))
        if item == len(self.items):
            self.items.append(Item(benchmark, record.number))
            self._identity.append(identity)
        for words, own in [*((words, True) for words in texts), *((words, False) for words in prompts)]:
            self._add_text(item, words, own)

    def corpus(self) -> BenchmarkWords:
        separator = np.array([-1], np.int32)
        pieces = [separator, *(piece for words in self._texts for piece in (words, separator))]
        lengths = np.array([len(words) for words in self._texts], np.int64)
        words = np.concatenate(pieces)
        sizes = np.array(self._vocabulary.quarters, np.uint8)
        return BenchmarkWords(
            vocabulary=dict(self._vocabulary),
            words=words,
            quarters=sizes[words.clip(min=0)],
            starts=np.cumsum(lengths + 1) - lengths,
            lengths=lengths,
            items=np.array(self._text_items, np.int64),
            own=np.array(self._text_own, np.bool_),
            identity=np.array(self._identity, np.int64),
        )

    def _encode(self, text: str) -> NDArray[np.int32]:
        words = split_words(text)
        return np.fromiter(map(self._vocabulary.__getitem__, words), np.int32, len(words))

    def _add_text(self, item: int, words: NDArray[np.int32], own: bool) -> None:
        key = (item, hashlib.blake2b(words.tobytes(), digest_size=16).digest())
        needed = WORD * min(self.options.ngram, self.options.min_words)
        size = sum(map(self._vocabulary.quarters.__getitem__, words.tolist()))
        if size >= needed and key not in self._seen:
            self._seen.add(key)
            self._texts.append(words)
            self._text_items.append(item)
            self._text_own.append(own)


def _tables(corpus: BenchmarkWords, options: IndexOptions) -> Iterator[NgramTable]:
    """Yield a table for each length of the texts that are matched whole, and one for the n-grams of the others too."""
    whole = corpus.sizes < WORD * options.ngram
    for length in sorted({*np.unique(corpus.lengths[whole]).tolist(), options.ngram}):
        hashes = window_hashes(corpus.words, length)
        positions = corpus.starts[whole & (corpus.lengths == length)]
        if length == options.ngram:
            positions = np.union1d(positions, _windows(corpus, length))
        positions = positions[~_is_common(corpus, hashes[positions], positions, options.max_items)]
        order = np.argsort(hashes[positions], kind="stable")
        if len(order):
            yield NgramTable(length, hashes[positions][order], positions[order])


def _windows(corpus: BenchmarkWords, length: int) -> NDArray[np.int64]:
    """Where n-grams begin that lie within a text and are not repetitive."""
    wanted = _all_true(corpus.words >= 0, length)
    for period in range(1, min(3, length // 4) + 1):
        repeated = corpus.words[period:] == corpus.words[:-period]
        wanted &= ~_all_true(repeated, length - period)[: len(wanted)]
    return np.flatnonzero(wanted)


def _all_true(values: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Whether all of the next ``size`` values are true, at each place that has as many."""
    if len(values) < size:
        return np.zeros(0, bool)
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    return total[size:] - total[: len(total) - size] == size


def _is_common(
    corpus: BenchmarkWords, hashes: Hashes, positions: NDArray[np.int64], max_items: int
) -> NDArray[np.bool_]:
    """Whether the n-gram at each position is a common phrase there: in an item's own text, or in a prompt."""
    if not len(hashes):
        return np.zeros(0, np.bool_)
    texts = corpus.text_of(positions)
    identity, prompt = corpus.identity[corpus.items[texts]], ~corpus.own[texts]
    order = np.lexsort((prompt, identity, hashes))
    hashes, identity, prompt = hashes[order], identity[order], prompt[order]
    new_hash = np.append(True, hashes[1:] != hashes[:-1])
    new_item = new_hash | np.append(True, identity[1:] != identity[:-1])
    group = np.cumsum(new_hash) - 1
    in_items = np.bincount(group, weights=new_item)[group]
    # Own texts come first within an item, so an item that has the n-gram in one begins with it.
    in_own = np.bincount(group, weights=new_item & ~prompt)[group]
    common = np.empty(len(order), np.bool_)
    common[order] = np.where(prompt, in_items, in_own) > max_items
    return common
