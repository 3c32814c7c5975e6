"""The first pass: a unit's documents, tokenized, in a folder of their own that appears whole or not at all."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cache
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from custom_modules.data.index import token_dtype
from custom_modules.errors import UserError
from custom_modules.file_writer import FileWriter
from custom_modules.files import whole_folder
from custom_modules.tokenizer import load_tokenizer
from custom_modules.tokenizer.fast import Encoder, FastEncoder, ReferenceEncoder, for_newer
from custom_modules.tokenizer.lost_text import LostTextError
from data_prep.clean.filter_corpus import CleanUnit
from data_prep.input.units import Segment, Unit
from data_prep.steps.filter_shard import REMOVED, SCORES, DocumentWriter, read_kept, read_lines, removed_record
from data_prep.tokenize.assignment import Assignment, Digest
from data_prep.work.damaged_files import OnDamagedFile
from data_prep.work.shard import OnError, SegmentCount, file_and_line, read_unit, write_record

DOCUMENT_DTYPE = np.dtype([("length", "<i4"), ("destination", "<u2")])
"""What a shard says of each of its documents: tokens, and the index of its stage and split."""

TEXTS = "texts.bin"
TEXT_DTYPE = np.dtype([("digest", "<u8", (2,)), ("source", "<u2"), ("order", "<u4")])
"""What a shard of several sources says of each document's text: its `Assignment.digest`, the number of its source, and
where it stands in the unit."""

Text = tuple[str, str, Mapping[str, float], tuple[Segment, int]]
"""A document's text, its source, its scores, and where it is: its segment, and its line there."""

Item = TypeVar("Item", bound=tuple[Any, ...])

_FORMAT = 5
_BATCH_CHARACTERS = 1 << 22


@dataclass(frozen=True)
class TokenizeOptions:
    """All that defines a shard beside its unit."""

    text_key: str
    on_error: OnError
    assignment: Assignment
    tokenizer_library: str
    tokenizer_path: str
    tokenizer_sha256: str
    eos_id: int
    vocab_size: int
    on_damaged_file: OnDamagedFile = "fail"
    """What becomes of the run, not of a unit: what can be read of it is kept either way."""
    scores: tuple[str, ...] = ()
    """The steps whose scores go with the documents."""
    fast_json: str | None = None
    """The file to encode with gigatoken from, which gives the same ids sooner; None: with the tokenizer itself."""

    def key(self, work: Unit | CleanUnit) -> str:
        """The name of a unit's shard: another for other options, another tokenizer or a changed source."""
        defining = {
            **asdict(self),
            "tokenizer_path": None,
            "fast_json": None,
            "on_damaged_file": None,
            "format": _FORMAT,
            "unit": work.key if isinstance(work, CleanUnit) else [segment.identity for segment in work],
        }
        return hashlib.blake2b(orjson.dumps(defining), digest_size=16).hexdigest()


def tokenize_shard(folder: Path, key: str, work: Unit | CleanUnit, options: TokenizeOptions) -> list[SegmentCount]:
    """Read, assign, tokenize and publish one unit as a folder ``folder/key``.

    It holds ``tokens.bin`` (all documents; some megabytes at a time they are sorted by destination, so that those of
    one stand together and in order), ``documents.bin`` (:data:`DOCUMENT_DTYPE`), where there are several sources
    ``texts.bin`` (:data:`TEXT_DTYPE`), ``scores.bin`` ([documents, scores], float32), ``record.json``, and of a clean
    unit ``removed.jsonl.zst``: the copies that are left out.

    Args:
        work: a unit as it is, or what the steps have left of it.

    Returns:
        A count per segment.

    Raises:
        UserError: a bad record when ``data.on_error=raise``, a character that the tokenizer would leave out, or a file
            that cannot be written.
    """
    encoder = _encoder(options.tokenizer_library, options.tokenizer_path, options.fast_json)
    dtype = token_dtype(options.vocab_size)
    with whole_folder(folder / key, replace=True) as aside:
        counts = deepcopy(work.counts) if isinstance(work, CleanUnit) else [SegmentCount() for _ in work]
        texts = _clean_texts(work, counts, aside) if isinstance(work, CleanUnit) else _texts(work, counts, options)
        assignment = options.assignment
        tokens, documents = FileWriter(aside / "tokens.bin"), FileWriter(aside / "documents.bin")
        scores = FileWriter(aside / SCORES)
        described_texts = FileWriter(aside / TEXTS) if len(assignment.sources) > 1 else None
        seen = 0
        for batch in _batches(texts):
            digests = [assignment.digest(text) for text, *_ in batch]
            places = [assignment.place(digest, source) for digest, (_, source, *_) in zip(digests, batch, strict=True)]
            order = sorted(range(len(batch)), key=places.__getitem__)
            placed = [(places[number], batch[number][0], batch[number][2]) for number in order]
            if described_texts:
                sources = [assignment.sources.index(source) for _, source, *_ in batch]
                described_texts.write(_describe_texts(digests, sources, order, seen))
            seen += len(batch)
            try:
                ids, lengths = encoder.encode([text for _, text, _ in placed])
            except LostTextError:
                raise _first_lost(batch, encoder) from None
            assert ids.size == 0 or (ids.min() >= 0 and ids.max() < options.vocab_size)
            described = np.empty(len(placed), DOCUMENT_DTYPE)
            described["length"] = lengths + 1
            described["destination"] = [destination for destination, *_ in placed]
            tokens.write(_with_ends(ids, lengths, options.eos_id, dtype).tobytes())
            documents.write(described.tobytes())
            every = [[given[name] for name in options.scores] for _, _, given in placed]
            scores.write(np.array(every, "<f4").tobytes())
        if isinstance(work, CleanUnit):
            _count_removed_tokens(work, aside, counts, encoder)
        for written in filter(None, (tokens, documents, scores, described_texts)):
            written.finish()
        write_record(aside, counts)
    return counts


def _describe_texts(digests: Sequence[Digest], sources: Sequence[int], order: Sequence[int], seen: int) -> bytes:
    """The texts of a batch in an order, as `TEXT_DTYPE`.

    Args:
        seen: documents of the unit before the batch.
    """
    described = np.empty(len(order), TEXT_DTYPE)
    described["digest"] = np.array(digests, "<u8")[order]
    described["source"] = np.array(sources)[order]
    described["order"] = np.array(order) + seen
    return described.tobytes()


def _with_ends(ids: NDArray[Any], lengths: NDArray[np.int64], eos_id: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The ids of documents, one behind the other, each followed by the end token."""
    ends = np.cumsum(lengths + 1) - 1
    is_end = np.zeros(ids.size + lengths.size, bool)
    is_end[ends] = True
    result = np.empty(is_end.size, dtype)
    result[ends] = eos_id
    result[~is_end] = ids
    return result


def _texts(unit: Unit, counts: list[SegmentCount], options: TokenizeOptions) -> Iterator[Text]:
    """A unit's documents as they are; counts what it sees on the way."""
    for segment, count, document in read_unit(unit, counts, options.text_key, on_error=options.on_error):
        count.documents += 1
        yield document.text, segment.file.source, document.scores, (segment, document.line)


def _clean_texts(work: CleanUnit, counts: list[SegmentCount], aside: Path) -> Iterator[Text]:
    """What the steps have left, without copies: those are written aside, and moved from kept to removed."""
    ends = list(accumulate(count.documents for count in work.counts))
    dropped = work.drops.in_turn()
    with DocumentWriter(aside / REMOVED) as removed:
        for index, document in enumerate(read_kept(work.folder)):
            segment = bisect_right(ends, index)
            removal = dropped(index)
            if removal is None:
                place = work.unit[segment], document.line
                yield document.text, work.unit[segment].file.source, document.scores, place
                continue
            count = counts[segment]
            count.documents -= 1
            count.remove(removal)
            removed.write(removed_record(work.unit[segment], document, removal))


def _count_removed_tokens(work: CleanUnit, aside: Path, counts: list[SegmentCount], encoder: Encoder) -> None:
    """Count the tokens of what the steps took out, and of the copies that were written aside."""
    places = {(segment.file.shown, segment.start): count for segment, count in zip(work.unit, counts, strict=True)}
    lines = chain(read_lines(work.folder / REMOVED), read_lines(aside / REMOVED))
    for batch in _batches((record["text"], record) for record in map(orjson.loads, lines)):
        for (_, record), length in zip(batch, _lengths([text for text, _ in batch], encoder), strict=True):
            of_step = places[record["source"], record["segment_start"]].removed_tokens.setdefault(record["step"], {})
            of_step[record["reason"]] = of_step.get(record["reason"], 0) + length + 1


def _first_lost(batch: Sequence[Text], encoder: Encoder) -> UserError:
    """Name the first of some documents that cannot be encoded."""
    for text, _, _, place in batch:
        try:
            encoder.encode([text])
        except LostTextError as error:
            return UserError(f"{file_and_line(*place)}: {error}")
    raise AssertionError("every one of them can be encoded alone")


def _lengths(texts: Sequence[str], encoder: Encoder) -> list[int]:
    """How many ids each text has; 0 where it cannot be encoded."""
    try:
        return encoder.encode(texts)[1].tolist()
    except LostTextError:
        return [0] if len(texts) == 1 else [length for text in texts for length in _lengths([text], encoder)]


def _batches(texts: Iterable[Item]) -> Iterator[list[Item]]:
    """Some megabytes of text at a time; an item begins with its text."""
    batch: list[Item] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text[0])
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def load_encoder(library: str, path: str, fast_json: str | None) -> None:
    """Load ahead what `tokenize_shard` will encode with, given the same options."""
    _encoder(library, path, fast_json).encode([""])


@cache
def _encoder(library: str, path: str, fast_json: str | None) -> Encoder:
    if fast_json is not None:
        return FastEncoder(Path(fast_json).read_text(), for_newer(library, Path(path)))
    return ReferenceEncoder(load_tokenizer(library, Path(path)))
