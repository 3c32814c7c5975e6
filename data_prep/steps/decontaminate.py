"""Decontamination: no document that holds a benchmark's prompts or reference answers is trained on.

LokiLM, sections 2.2 and 3.1: content that closely matches benchmark datasets is removed, and any text that directly
matches the prompts or reference answers of those used for evaluation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal
from data_prep.steps.benchmark_index import BenchmarkIndex, IndexOptions, Item, build_index
from data_prep.steps.benchmark_texts import BenchmarkFile, find_benchmarks, read_benchmark
from data_prep.steps.overlap import Overlap

NAME = "decontaminate"
_RULES = 2
"""Raised whenever the same options and files would remove other documents."""
_REASON = "overlap with {name}"
_READ_DETAIL = re.compile(r"(?:(\d+) words)?(?: and )?(?:(\d+) characters)? in a row of item (\d+)")


class Decontaminate:
    """Removes a document that has a run of words in common with an item of a benchmark.

    Words are those of :func:`data_prep.text.spelling.split_words`: without case, punctuation, line breaks and HTML
    entities, in one Unicode form; characters of scripts without spaces count as parts of a word. A run counts from
    ``ngram`` words on; a benchmark's text of fewer words, but ``min_words``, counts if a document has all of it. The
    removal names the item that the longest run is of. What is not looked for, such as phrases that more than
    ``max_items`` items share, is said at :func:`data_prep.steps.benchmark_index.build_index`.

    An instance is small and picklable; each process reads the files for its first document.

    Args:
        files: benchmark files, or folders of them: see :func:`data_prep.steps.benchmark_texts.read_benchmark`.
        ngram: words.
        min_words: words; ``ngram`` or more of them means that no shorter text is looked for.
        max_items: items.

    Raises:
        UserError: here, for a file that is missing or malformed; when called, for a file that has changed since.
    """

    name = NAME

    def __init__(self, files: Sequence[str | Path], ngram: int = 13, min_words: int = 8, max_items: int = 10) -> None:
        self._files = find_benchmarks(files)
        self._options = IndexOptions(ngram, min_words, max_items)
        for file in self._files:
            if not sum(1 for _ in read_benchmark(file)):
                raise UserError(f"data.steps.{NAME}.files={file.path}: holds no item; leave it out")
        self.options: dict[str, object] = {
            "rules": _RULES,
            "benchmarks": {file.name: file.sha256 for file in self._files},
            **asdict(self._options),
        }

    def __call__(self, document: Document) -> Document | Removal:
        index = self.index()
        found = index.overlaps.find(document.text)
        if found is None:
            return document
        item = index.items[found.item]
        return Removal(NAME, _REASON.format(name=item.benchmark), _detail(found, item))

    def benchmark_hits(self, removals: Iterable[Removal]) -> list[dict[str, object]]:
        """Return what `benchmark_hits` counts of this step, as plain values, with the items that cannot be found."""
        too_short = Counter(self.index().items[item].benchmark for item in self.index().too_short)
        return [
            {
                **asdict(hits),
                "items_too_short": too_short[hits.benchmark],
                "items_too_common": hits.items - hits.items_searched - too_short[hits.benchmark],
            }
            for hits in benchmark_hits(self, removals)
        ]

    def coverage(self) -> list[str]:
        """Say how many items of each benchmark are looked for, and why others are not."""
        rows = self.benchmark_hits([])
        shortest = min(self._options.ngram, self._options.min_words)
        reasons = {
            "items_too_short": f"shorter than {shortest} words",
            "items_too_common": f"made of phrases that more than {self._options.max_items} items share",
        }
        return [
            ", ".join(
                [
                    f"{NAME}: {row['items_searched']:,} of {row['items']:,} items of {row['benchmark']} are searched",
                    *(f"{row[key]:,} cannot be: {reason}" for key, reason in reasons.items() if row[key]),
                ]
            )
            for row in rows
        ]

    @property
    def benchmarks(self) -> list[str]:
        """The names of the benchmarks, in the order of the files."""
        return [file.name for file in self._files]

    def index(self) -> BenchmarkIndex:
        """The benchmarks' items; read once in a process."""
        return _load(self._files, self._options)


def _detail(found: Overlap, item: Item) -> str:
    counts = {"words": found.words, "characters": found.characters}
    said = " and ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{said} in a row of item {item.number}"


@lru_cache(maxsize=1)
def _load(files: tuple[BenchmarkFile, ...], options: IndexOptions) -> BenchmarkIndex:
    return build_index(files, options)


@dataclass(frozen=True, slots=True)
class BenchmarkHits:
    """What decontamination found of one benchmark."""

    benchmark: str
    items: int
    """Different items in its file."""
    items_searched: int
    """Items that can be found: with a text that is long enough and is not made of common phrases."""
    items_hit: int
    """Items that a document was removed for; a document counts for the item it has most in common with."""
    documents_removed: int
    longest_match: int
    """Words in a row, or characters of a script without spaces; 0 where no document was removed."""


def benchmark_hits(step: Decontaminate, removals: Iterable[Removal]) -> list[BenchmarkHits]:
    """Return a row for each benchmark, in the order of the files, those without a removal too.

    Args:
        step: the step that removed, or one of equal options.
        removals: of any steps; those of others are passed over.
    """
    index = step.index()
    reasons = {_REASON.format(name=name): name for name in step.benchmarks}
    documents, longest = Counter[str](), Counter[str]()
    hit: dict[str, set[int]] = {name: set() for name in step.benchmarks}
    for removal in removals:
        detail = _READ_DETAIL.fullmatch(removal.detail)
        if removal.step == NAME and detail:
            name = reasons[removal.reason]
            documents[name] += 1
            longest[name] = max(longest[name], int(detail[1] or 0) + int(detail[2] or 0))
            hit[name].add(int(detail[3]))
    items = Counter(item.benchmark for item in index.items)
    searched = Counter(index.items[item].benchmark for item in index.overlaps.searched_items)
    return [
        BenchmarkHits(
            benchmark=name,
            items=items[name],
            items_searched=searched[name],
            items_hit=len(hit[name]),
            documents_removed=documents[name],
            longest_match=longest[name],
        )
        for name in step.benchmarks
    ]
