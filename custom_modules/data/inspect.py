"""`danube inspect`: what lies in prepared data, or in any Megatron indexed dataset. Needs no torch."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from custom_modules.data.manifest import FORMAT, INDEX_HEADER, MANIFEST, SCORES, Part, Split
from custom_modules.data.scores import count_scores, read_scores
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
        numbers = range(self.documents + 1)
        return bisect_right(numbers, token, key=lambda number: int(self.boundaries(number, number)[0])) - 1


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

    def stage_names(self) -> set[str]:
        """Those that were asked for, and those that have data."""
        wanted = self.options.get("stages")
        return {*self.stages, *(wanted if isinstance(wanted, dict) else ())}

    def datasets(self) -> Iterator[tuple[str, Split, Part]]:
        for stage, splits in self.stages.items():
            yield from ((stage, split, part) for split, parts in splits.items() for part in parts)


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
    for splits in read.stages.values():
        for split, parts in splits.items():
            splits[split] = [replace(part, prefix=directory / part.prefix) for part in parts]
    return read


def inspect(path: Path, document: int | None = None, count: int = 1, max_chars: int = 2_000) -> Iterator[str]:
    """What `danube inspect` prints: documents of one dataset, or the list of a folder's datasets.

    Args:
        path: a dataset's prefix, its ``.bin`` or its ``.idx``, or a folder.
        document: the first to show, from 0; None for the dataset's first.

    Raises:
        UserError: at once: there is no such dataset or document, or it cannot be read.
    """
    prefix = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    if not path.is_dir():
        return inspect_dataset(prefix, find_tokenizer(prefix), document or 0, count, max_chars)
    if document is not None:
        raise UserError(f"--document {document}: {path} is a folder; give one of its datasets, which it lists without")
    return iter(list_datasets(path))


def list_datasets(directory: Path) -> list[str]:
    """A heading, and a line per dataset, which begins with the prefix to give to `danube inspect`.

    Raises:
        UserError: the folder has none, or its manifest or an index cannot be understood.
    """
    description = read_description(directory)
    rows = [("dataset", "stage", "split", "source", "documents", "tokens", "dtype")]
    for stage, split, part in description.datasets() if description else ():
        numbers = f"{part.documents:,}", f"{part.tokens:,}"
        rows.append((str(part.prefix), stage, split, part.source, *numbers, part.dtype))
    for index in [] if description else map(open_index, sorted(directory.rglob("*.idx"))):
        numbers = f"{index.documents:,}", f"{index.tokens:,}"
        rows.append((str(index.path.with_suffix("")), "-", "-", "-", *numbers, index.dtype.name))
    if len(rows) == 1:
        raise UserError(f"{directory}: no dataset in it; give a folder with .bin and .idx files")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    adjust = [str.ljust] * 4 + [str.rjust] * 3
    return ["  ".join(f(cell, width) for f, cell, width in zip(adjust, row, widths, strict=True)) for row in rows]


def find_tokenizer(prefix: Path) -> Tokenizer | None:
    """The tokenizer of the manifest that names a dataset, in a folder above it; None where there is none.

    Raises:
        UserError: the tokenizer cannot be read.
    """
    for folder in prefix.resolve().parents:
        description = None
        with suppress(UserError):
            description = read_description(folder)
        if description and any(part.prefix == prefix.resolve() for _, _, part in description.datasets()):
            return load_tokenizer(description.tokenizer.library, folder / description.tokenizer.file)
    return None


def inspect_dataset(prefix: Path, tokenizer: Tokenizer | None, start: int, count: int, max_chars: int) -> Iterator[str]:
    """A line on the dataset, then each document: its number, its tokens, its scores, its text with EOD marked.

    Args:
        tokenizer: None to show ids.
        start: the first document, from 0.
        count: documents, as far as there are as many.
        max_chars: of each document.

    Raises:
        UserError: at once: the dataset cannot be read, or has no such document.
    """
    for option, value in (("--count", count), ("--max-chars", max_chars)):
        if value < 1:
            raise UserError(f"{option} {value}: nothing to show; give 1 or more")
    index = open_index(prefix.with_name(prefix.name + ".idx"))
    documents = index.documents if len(index.lengths) else 0
    if not 0 <= start < documents:
        raise UserError(f"--document {start}: {prefix} has {documents} documents; give a number from 0 to below that")
    stop = min(start + count, documents)
    bounds = index.boundaries(start, stop)
    tokens = _map_tokens(prefix.with_name(prefix.name + ".bin"), index, bounds)
    kind = "" if tokenizer else "; shown as ids, for no manifest above names it and its tokenizer"
    heading = f"{prefix}: {documents:,} documents, {index.tokens:,} tokens, {index.dtype}{kind}"
    scores = _scores(prefix.with_name(f"{prefix.name}.{SCORES}"), documents, start, stop)
    spans = zip(range(start, stop), bounds[:-1], bounds[1:], scores, strict=True)
    shown = (_render(number, tokens[a:b], given, tokenizer, max_chars) for number, a, b, given in spans)
    return chain([heading], shown)


def _scores(path: Path, documents: int, start: int, stop: int) -> list[dict[str, float]]:
    """None of any document where there is no such file."""
    if not path.is_file():
        return [{}] * (stop - start)
    rows = count_scores(path)
    if rows != documents:
        raise UserError(
            f"{path}: scores of {rows} documents, but the dataset has {documents}; run `danube check-data` on the "
            "folder"
        )
    return read_scores(path, start, stop)


def _map_tokens(path: Path, index: Index, bounds: NDArray[np.int64]) -> NDArray[Any]:
    try:
        tokens = np.memmap(path, index.dtype, "r", shape=(path.stat().st_size // index.dtype.itemsize,))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); make or copy it again") from None
    if bounds.min() < 0 or bounds.max() > tokens.size or (np.diff(bounds) < 0).any():
        raise UserError(
            f"{index.path}: these documents reach to token {bounds.max()} of {path.name}, which has {tokens.size}; "
            "run `danube check-data` on the folder"
        )
    return tokens


def _render(
    number: int, ids: NDArray[Any], scores: Mapping[str, float], tokenizer: Tokenizer | None, max_chars: int
) -> str:
    title = f"\ndocument {number}: {len(ids):,} tokens"
    # A character takes at most four tokens, one a byte.
    some = ids[: 4 * max_chars].tolist()
    text = _decode(some, tokenizer) if tokenizer else " ".join(map(str, some))
    if tokenizer and (not len(ids) or ids[-1] != tokenizer.eos_id):
        title += f", without EOD ({tokenizer.eos_id}) at its end"
    title += "".join(f", {name} {score:.4f}" for name, score in scores.items())
    if len(text) > max_chars or len(some) < len(ids):
        text = f"{text[:max_chars]} [cut after {max_chars:,} characters]"
    return f"{title}\n{text}"


def _decode(ids: list[int], tokenizer: Tokenizer) -> str:
    """The text, with marks for EOD and for ids that are no text; control characters are written as escapes."""
    marks = {tokenizer.bos_id: "[BOS]", tokenizer.eos_id: "[EOD]"}
    pieces = []
    for is_text, run in groupby(ids, lambda token: 0 <= token < tokenizer.vocab_size and token not in marks):
        if is_text:
            pieces.append(_UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], tokenizer.decode(list(run))))
        else:
            pieces += [marks.get(token, f"[{token}: beyond the vocabulary]") for token in run]
    return "".join(pieces)
