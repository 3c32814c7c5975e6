"""`danube inspect`: what lies in prepared data, or in any Megatron indexed dataset. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.index import Index, open_index
from custom_modules.data.inspect_chat import find_split, inspect_split, list_splits
from custom_modules.data.manifest import SCORES, read_manifest
from custom_modules.data.scores import count_scores, read_scores
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def inspect(path: Path, document: int | None = None, count: int = 1, max_chars: int = 2_000) -> Iterator[str]:
    """What `danube inspect` prints: documents of one dataset, or the list of a folder's datasets; samples likewise.

    Args:
        path: a dataset's prefix, its ``.bin`` or its ``.idx``, or a folder.
        document: the first to show, from 0; None for the dataset's first.

    Raises:
        UserError: at once: there is no such dataset or document, or it cannot be read.
    """
    if (chat := find_split(path)) is not None:
        manifest, split = chat
        if split is not None:
            return inspect_split(manifest, split, document or 0, count, max_chars)
        if document is None:
            return list_splits(manifest)
        raise UserError(f"--document {document}: {path} has several splits; give one of them, as {path / 'train'}")
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
    manifest = read_manifest(directory)
    rows = [("dataset", "stage", "split", "source", "documents", "tokens", "dtype")]
    for stage, split, part in manifest.datasets() if manifest else ():
        numbers = f"{part.documents:,}", f"{part.tokens:,}"
        kind = split if part.stream == "plain" else f"{split}, {part.stream}"
        rows.append((str(part.prefix), stage, kind, part.source, *numbers, part.dtype))
    for index in [] if manifest else map(open_index, sorted(directory.rglob("*.idx"))):
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
        manifest = None
        with suppress(UserError):
            manifest = read_manifest(folder)
        if manifest and any(part.prefix == prefix.resolve() for _, _, part in manifest.datasets()):
            return load_tokenizer(manifest.tokenizer.library, folder / manifest.tokenizer.file)
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
