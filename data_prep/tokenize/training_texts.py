"""What a tokenizer is trained on: all documents, or as many whole ones, chosen by their hashes, as memory allows."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from data_prep.input.documents import Document
from data_prep.input.readers import read_segment
from data_prep.input.units import Unit
from data_prep.work.progress import ProgressBar, count, say
from data_prep.work.workers import Pool

TRAINING_BYTES = 40_000_000
"""Of text, in UTF-8. SentencePiece 0.2.3 takes up to 90 bytes of memory for each, so that training stays below 4 GB: 89
where no word comes twice, 52 of random Chinese, 7 of English manuals (peaks of the process, on 8 to 40 MB)."""
_WHOLE_PART = 8
"""A document of more than this part of `TRAINING_BYTES` is not chosen, as there could be few others beside it."""
_AT_ONCE = 100_000


@dataclass(frozen=True)
class Candidates:
    """Of some documents of a source those with the smallest hashes, each text once, and how much there is in all."""

    documents: int
    bytes: int
    too_long: int
    """Documents."""
    smallest: NDArray[np.uint64]
    """[candidates, 2]: hash and bytes, by ascending hash."""

    def merged(self, other: Candidates, most: int) -> Candidates:
        """Add other documents of the source, and keep candidates of ``most`` bytes."""
        return Candidates(
            self.documents + other.documents,
            self.bytes + other.bytes,
            self.too_long + other.too_long,
            _smallest(np.concatenate([self.smallest, other.smallest]), most),
        )


def training_texts(units: Sequence[Unit], text_key: str, workers: Pool) -> Iterator[str]:
    """Yield the texts of all documents, in their order; of more than `TRAINING_BYTES` some, each whole and once.

    These are, of every source, the documents with the smallest hashes, as many as make up its part of the whole: the
    same ones whatever the number of workers, from all over the input. Says how many of how many they are.

    Args:
        units: all of the input.

    Raises:
        UserError: there is no text, or more than that and no document of it is short enough.
    """
    texts = _all_if_few(units, text_key)
    if texts is not None:
        if not any(map(str.strip, texts)):
            raise UserError(
                "data.input: no text in what can be read of it, so that no tokenizer can be trained; name files with "
                "text, or give model.tokenizer.model"
            )
        say(f"training a tokenizer on all {count(len(texts), 'document')}")
        yield from texts
        return
    sizes = [sum(segment.bytes for segment in unit) for unit in units]
    progress = ProgressBar("choosing documents to train a tokenizer on", 2 * sum(sizes))
    sources: dict[str, Candidates] = {}
    for index, found in workers.run(weigh, ((unit, text_key, TRAINING_BYTES) for unit in units)):
        for source, candidates in found.items():
            _add(sources, source, candidates, TRAINING_BYTES)
        progress.add(sizes[index])
    last = _last_hashes(sources)
    picked: list[dict[int, str]] = [{} for _ in units]
    for index, of_unit in workers.run(pick, ((unit, text_key, last, TRAINING_BYTES) for unit in units)):
        picked[index] = of_unit
        progress.add(sizes[index])
    progress.close()
    once = {number: text for of_unit in picked for number, text in of_unit.items()}
    _say_how_many(sources, once.values())
    yield from once.values()


def read_texts(units: Iterable[Unit], text_key: str) -> Iterator[str]:
    """Yield the texts of units' documents, in their order."""
    return (text for unit in units for _, text in _read(unit, text_key))


def weigh(unit: Unit, text_key: str, most: int) -> dict[str, Candidates]:
    """Look at all documents of a unit.

    Args:
        most: bytes of candidates.

    Returns:
        By source.
    """
    found: dict[str, Candidates] = {}
    documents = _read(unit, text_key)
    while some := list(islice(((source, *_hash_and_size(text)) for source, text in documents), _AT_ONCE)):
        for source in dict.fromkeys(source for source, _, _ in some):
            pairs = np.array([pair for of, *pair in some if of == source], "u8")
            _add(found, source, _candidates(pairs, most), most)
    return found


def pick(unit: Unit, text_key: str, last: Mapping[str, int], most: int) -> dict[int, str]:
    """Return the texts of a unit's documents that are chosen by their hashes, in their order.

    Args:
        last: the largest hash that is chosen of each source.
        most: as in `weigh`.
    """
    picked: dict[int, str] = {}
    for source, text in _read(unit, text_key):
        number, size = _hash_and_size(text)
        if source in last and size <= most // _WHOLE_PART and number <= last[source]:
            picked.setdefault(number, text)
    return picked


def _all_if_few(units: Sequence[Unit], text_key: str) -> list[str] | None:
    texts, left = [], TRAINING_BYTES
    for text in read_texts(units, text_key):
        left -= len(text.encode())
        if left < 0:
            return None
        texts.append(text)
    return texts


def _read(unit: Unit, text_key: str) -> Iterator[tuple[str, str]]:
    """The source and the text of each document."""
    for segment in unit:
        for record in read_segment(segment, text_key):
            if isinstance(record, Document):
                yield segment.file.source, record.text


def _hash_and_size(text: str) -> tuple[int, int]:
    content = text.encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"), len(content)


def _add(sources: dict[str, Candidates], source: str, candidates: Candidates, most: int) -> None:
    sources[source] = sources[source].merged(candidates, most) if source in sources else candidates


def _candidates(pairs: NDArray[np.uint64], most: int) -> Candidates:
    short = pairs[pairs[:, 1] <= most // _WHOLE_PART]
    return Candidates(len(pairs), int(pairs[:, 1].sum()), len(pairs) - len(short), _smallest(short, most))


def _smallest(pairs: NDArray[np.uint64], most: int) -> NDArray[np.uint64]:
    """Those with the smallest hashes that have ``most`` bytes together, or the first."""
    ordered = np.unique(pairs, axis=0)
    return ordered[: max(1, int(np.searchsorted(np.cumsum(ordered[:, 1]), most, side="right")))]


def _last_hashes(sources: Mapping[str, Candidates]) -> dict[str, int]:
    total = sum(candidates.bytes for candidates in sources.values())
    parts = {
        source: _smallest(candidates.smallest, TRAINING_BYTES * candidates.bytes // total)
        for source, candidates in sources.items()
    }
    last = {source: int(part[-1, 0]) for source, part in parts.items() if part.size}
    if not last:
        raise UserError(
            f"data.train_tokenizer=true: every document has more than {TRAINING_BYTES // _WHOLE_PART:,} bytes; give "
            "shorter ones, or model.tokenizer.model"
        )
    return last


def _say_how_many(sources: Mapping[str, Candidates], texts: Collection[str]) -> None:
    documents, size, too_long = (
        sum(getattr(candidates, name) for candidates in sources.values()) for name in ("documents", "bytes", "too_long")
    )
    taken = sum(len(text.encode()) for text in texts)
    longer = f"; {count(too_long, 'document')} of more than {TRAINING_BYTES // _WHOLE_PART / 1e6:g} MB left out"
    say(
        f"training a tokenizer on {len(texts):,} of {count(documents, 'document')}, {taken / 1e6:,.1f} of "
        f"{size / 1e6:,.1f} MB, whole ones chosen by their hashes{longer if too_long else ''}"
    )
