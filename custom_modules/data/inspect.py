"""`danube inspect`: what lies in prepared data, or in any Megatron indexed dataset. Needs no torch."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from custom_modules.data.manifest import FORMAT, INDEX_HEADER, MANIFEST, Part, Split
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer

DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("uint8"),
    2: np.dtype("int8"),
    3: np.dtype("int16"),
    4: np.dtype("int32"),
    5: np.dtype("int64"),
    8: np.dtype("uint16"),
}
"""megatron-core's codes for what can be a token id."""

_HEADER = struct.Struct("<9sQBQQ")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Index:
    """An ``.idx`` mapped into memory. What it says is only sound once `danube check-data` has said so.

    Attributes:
        dtype: to read tokens with.
        code: megatron-core's code for the dtype, as stored.
        lengths: [sequences], int32: tokens of each.
        pointers: [sequences], int64: byte at which each begins in the ``.bin``.
        document_indices: [documents + 1], int64: the sequence that each document begins with; last, their number.
    """

    path: Path
    dtype: np.dtype[Any]
    code: int
    lengths: NDArray[np.int32]
    pointers: NDArray[np.int64]
    document_indices: NDArray[np.int64]

    @property
    def documents(self) -> int:
        return max(len(self.document_indices) - 1, 0)

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    def boundaries(self, first: int, last: int) -> NDArray[np.int64]:
        """[last - first + 1], int64: the token at which documents begin; that of number `documents` is the end."""
        sequences = self.document_indices[first : last + 1]
        inside = np.minimum(sequences, len(self.lengths) - 1)
        ends = self.pointers[inside] + self.lengths[inside] * np.int64(self.dtype.itemsize)
        return np.where(sequences > inside, ends, self.pointers[inside]) // self.dtype.itemsize

    def document_at(self, token: int) -> int:
        """The document that a token belongs to; `documents` for one behind the last."""
        return (
            bisect_right(range(self.documents + 1), token, key=lambda first: int(self.boundaries(first, first)[0])) - 1
        )


def open_index(path: Path, dtype: np.dtype[Any] | None = None) -> Index:
    """Map an ``.idx`` into memory.

    Args:
        dtype: of the tokens, whatever the index says of it; None to believe the index.

    Raises:
        UserError: it is missing, no Megatron index, of another size than its counts need, or of no integer dtype.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(_HEADER.size)
            size = path.stat().st_size
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give a prefix that has a .bin and an .idx"
        ) from None
    if len(start) < _HEADER.size or start[:9] != INDEX_HEADER:
        raise UserError(f"{path}: begins with {start[:9]!r}, so it is no Megatron index; make or copy it again")
    _, version, code, sequences, boundaries = _HEADER.unpack(start)
    needed = _HEADER.size + 12 * sequences + 8 * boundaries
    if version != 1:
        raise UserError(f"{path}: format version {version}, but only 1 is known; make or copy it again")
    if size != needed:
        raise UserError(
            f"{path}: {size} bytes, but its {sequences} sequences and {boundaries} document ends take {needed}; "
            "make or copy it again"
        )
    if dtype is None and code not in DTYPES:
        raise UserError(f"{path}: dtype code {code} is none of {sorted(DTYPES)}, a token's; make or copy it again")
    content = np.memmap(path, np.uint8, mode="r")
    lengths = np.ndarray((sequences,), "<i4", content, _HEADER.size)
    pointers = np.ndarray((sequences,), "<i8", content, _HEADER.size + 4 * sequences)
    document_indices = np.ndarray((boundaries,), "<i8", content, _HEADER.size + 12 * sequences)
    return Index(path, DTYPES[code] if dtype is None else dtype, code, lengths, pointers, document_indices)


@dataclass(frozen=True)
class TokenizerEntry:
    """What a manifest says of its tokenizer."""

    library: Literal["sentencepiece", "huggingface"]
    file: str
    sha256: str
    vocab_size: int
    eos_id: int


@dataclass(frozen=True)
class Description:
    """A manifest as it stands, held against no config. The parts' prefixes begin with the folder."""

    format: Literal[1]
    options: dict[str, Any]
    tokenizer: TokenizerEntry
    stages: dict[str, dict[Split, list[Part]]]

    def datasets(self) -> Iterator[tuple[str, Split, Part]]:
        for stage, splits in self.stages.items():
            for split, parts in splits.items():
                for part in parts:
                    yield stage, split, part


def read_description(directory: Path) -> Description | None:
    """The manifest of a folder; None if it has none.

    Raises:
        UserError: one that cannot be understood; names what in it.
    """
    path = directory / MANIFEST
    assert Description.__annotations__["format"] == f"Literal[{FORMAT}]"
    try:
        read = TypeAdapter(Description).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run `danube prepare` again") from None
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'content'}: {fault['msg']}" for fault in error.errors()]
        raise UserError(
            f"{path}: not a manifest of prepared data ({'; '.join(faults)}); run `danube prepare` again"
        ) from None
    stages = {
        stage: {
            split: [replace(part, prefix=directory / part.prefix) for part in parts] for split, parts in splits.items()
        }
        for stage, splits in read.stages.items()
    }
    return replace(read, stages=stages)


def inspect(path: Path, document: int | None, count: int, max_chars: int) -> Iterator[str]:
    """What `danube inspect` prints: documents of one dataset, or the list of a folder's datasets.

    Args:
        path: a dataset's prefix, ``.bin`` or ``.idx``, or a folder.
        document: the first to show, from 0; None for the dataset's first.
        count: how many to show, as far as there are as many.
        max_chars: of each document's text.

    Raises:
        UserError: there is no such dataset or document, or it cannot be read.
    """
    if path.is_dir():
        if document is not None:
            raise UserError(f"--document {document}: {path} is a folder; give one of its datasets, listed without it")
        return iter(list_datasets(path))
    prefix = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    return inspect_dataset(prefix, find_tokenizer(prefix), document or 0, count, max_chars)


def list_datasets(directory: Path) -> list[str]:
    """A heading, and a line per dataset with the prefix to give to `danube inspect`.

    Raises:
        UserError: the folder has none, or its manifest or an index cannot be understood.
    """
    rows = [("dataset", "stage", "split", "source", "documents", "tokens", "dtype")]
    description = read_description(directory)
    if description:
        for stage, split, part in description.datasets():
            numbers = (f"{part.documents:,}", f"{part.tokens:,}", part.dtype)
            rows.append((str(part.prefix), stage, split, part.source, *numbers))
    else:
        for path in sorted(directory.rglob("*.idx")):
            index = open_index(path)
            numbers = (f"{index.documents:,}", f"{index.tokens:,}", index.dtype.name)
            rows.append((str(path.with_suffix("")), "-", "-", "-", *numbers))
    if len(rows) == 1:
        raise UserError(f"{directory}: no dataset in it; give a folder with .bin and .idx files")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = [row[:4] for row in rows]
    return [
        "  ".join([*map(str.ljust, words, widths[:4]), *map(str.rjust, row[4:], widths[4:])])
        for words, row in zip(left, rows, strict=True)
    ]


def find_tokenizer(prefix: Path) -> Tokenizer | None:
    """The tokenizer that a dataset was encoded with: of the nearest folder above it that has a manifest; None if none.

    Raises:
        UserError: the manifest or the tokenizer cannot be read.
    """
    for folder in prefix.absolute().parents:
        description = read_description(folder)
        if description:
            return load_tokenizer(description.tokenizer.library, folder / description.tokenizer.file)
    return None


def inspect_dataset(prefix: Path, tokenizer: Tokenizer | None, start: int, count: int, max_chars: int) -> Iterator[str]:
    """A line on the dataset, then each document's number, token count and text.

    Args:
        tokenizer: None to show ids.
        start: the first document, from 0.
        count: documents, as far as there are as many.
        max_chars: of each document.

    Raises:
        UserError: at once: the dataset cannot be read, or has no such document.
    """
    index = open_index(prefix.with_name(prefix.name + ".idx"))
    bin_file = prefix.with_name(prefix.name + ".bin")
    if not 0 <= start < index.documents:
        raise UserError(
            f"--document {start}: {prefix} has {index.documents} documents; give 0 to {index.documents - 1}"
        )
    for option, value in (("--count", count), ("--max-chars", max_chars)):
        if value < 1:
            raise UserError(f"{option} {value}: nothing to show; give 1 or more")
    stop = min(start + count, index.documents)
    bounds = index.boundaries(start, stop)
    tokens = _map_tokens(bin_file, index, int(bounds.max()), int(bounds.min()))
    heading = f"{prefix}: {index.documents:,} documents, {index.tokens:,} tokens, {index.dtype.name}"
    documents = (
        _render(number, tokens[begin:end], tokenizer, max_chars)
        for number, begin, end in zip(range(start, stop), bounds[:-1], bounds[1:], strict=True)
    )
    return iter([heading, *documents])


def _map_tokens(path: Path, index: Index, end: int, begin: int) -> NDArray[Any]:
    try:
        size = path.stat().st_size
        if begin < 0 or end * index.dtype.itemsize > size:
            raise UserError(
                f"{index.path}: points to byte {end * index.dtype.itemsize} of {path.name}, which has {size}; "
                "run `danube check-data` on the folder"
            )
        return np.memmap(path, index.dtype, mode="r", shape=(size // index.dtype.itemsize,))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make or copy it again") from None


def _render(number: int, ids: NDArray[Any], tokenizer: Tokenizer | None, max_chars: int) -> str:
    title = f"document {number}: {len(ids):,} tokens"
    if tokenizer is None:
        return f"\n{title}\n{_cut(' '.join(map(str, ids[:max_chars])), len(ids) > max_chars, max_chars)}"
    ended = len(ids) > 0 and ids[-1] == tokenizer.eos_id
    # A character takes at most four byte-fallback tokens.
    some = ids[: 4 * max_chars].tolist()
    title += f", {'ends' if ended else 'does not end'} in EOD ({tokenizer.eos_id})"
    return f"\n{title}\n{_cut(_decode(some, tokenizer), len(some) < len(ids), max_chars)}"


def _cut(text: str, more: bool, max_chars: int) -> str:
    return text if len(text) <= max_chars and not more else f"{text[:max_chars]} [cut at {max_chars:,} characters]"


def _decode(ids: list[int], tokenizer: Tokenizer) -> str:
    """The text, with marks for EOD and for ids that are no text; control characters are written as escapes."""
    marks = {tokenizer.eos_id: "[EOD]"}
    if tokenizer.bos_id is not None:
        marks[tokenizer.bos_id] = "[BOS]"
    pieces, run = [], list[int]()
    for token in [*ids, None]:
        if token is not None and 0 <= token < tokenizer.vocab_size and token not in marks:
            run.append(token)
            continue
        pieces.append(tokenizer.decode(run) if run else "")
        run = []
        if token is not None:
            pieces.append(marks.get(token, f"[no token {token}]"))
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], "".join(pieces))
