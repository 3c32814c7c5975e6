"""`danube inspect` of conversations and pairs: samples with what is masked, pairs side by side. Needs no torch."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.data.chat_manifest import PAIRS, ChatManifest, find_chat_manifest
from custom_modules.data.conversations import Samples
from custom_modules.data.layout import TOKENIZER
from custom_modules.errors import UserError

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NARROWEST = 40
_ROWS = 1_000
_MASKED, _TRAINED = "masked ", "trained"


def find_split(path: Path) -> tuple[ChatManifest, str | None] | None:
    """Return the manifest that a path is of, and the split; None for other data.

    Args:
        path: a ``data.dir``, or of one a split's folder or something in that.

    Raises:
        UnreadableError: a manifest that the system refuses to read.
    """
    for folder in (path, path.parent, path.parent.parent):
        if folder.is_dir() and (manifest := find_chat_manifest(folder)) is not None:
            inside = path.resolve().relative_to(folder.resolve()).parts
            if not inside:
                return manifest, None
            return (manifest, inside[0]) if inside[0] in manifest.splits else None
    return None


def list_splits(manifest: ChatManifest) -> Iterator[str]:
    """Give a heading, and a line for each split, which begins with the path to give to `danube inspect`."""
    rows = [("split", "samples", "tokens", "of answers", "longest", *next(iter(manifest.splits.values())).sources)]
    for split, entry in manifest.splits.items():
        numbers = (entry.samples, entry.tokens, entry.answer_tokens, entry.longest, *entry.sources.values())
        rows.append((str(manifest.directory / split), *(f"{number:,}" for number in numbers)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        yield "  ".join(
            [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        )


def inspect_split(manifest: ChatManifest, split: str, first: int, count: int, max_chars: int) -> Iterator[str]:
    """Show samples of a split, from number ``first`` on.

    Args:
        max_chars: of each text that is shown.

    Raises:
        UserError: there is no such sample, or the files cannot be read.
    """
    for option, value in (("--count", count), ("--max-chars", max_chars)):
        if value < 1:
            raise UserError(f"{option} {value}: nothing to show; give 1 or more")
    entry = manifest.splits[split]
    if not 0 <= first < entry.samples:
        raise UserError(f"--document {first}: {manifest.directory / split} has {entry.samples} samples, from 0")
    last = min(first + count, entry.samples)
    if manifest.kind == "pairs":
        return _show_pairs(manifest, split, first, last, max_chars)
    return _show_samples(manifest, split, first, last, max_chars)


def _show_samples(manifest: ChatManifest, split: str, first: int, last: int, max_chars: int) -> Iterator[str]:
    tokenizer = ChatTokenizer.load(manifest.directory / TOKENIZER)
    samples = Samples(manifest.directory / split)
    for number in range(first, last):
        ids, answers = samples[number]
        source = _source_of(manifest.splits[split].sources, number)
        yield f"sample {number}, {source}: {len(ids):,} tokens, {int(answers.sum()):,} of answers"
        left = max_chars
        for trained, begin, end in _runs(answers):
            text = _text(ids[begin:end].tolist(), tokenizer)
            yield _labelled(_TRAINED if trained else _MASKED, text[:left])
            left -= len(text)
            if left < 0:
                yield f"  [cut after {max_chars:,} characters]"
                break


def _runs(answers: NDArray[np.bool_]) -> Iterator[tuple[bool, int, int]]:
    begin = 0
    for trained, run in groupby(answers.tolist()):
        end = begin + len(list(run))
        yield trained, begin, end
        begin = end


def _text(ids: Sequence[int], tokenizer: ChatTokenizer) -> str:
    pieces = []
    for is_end, run in groupby(ids, lambda token: token == tokenizer.eos_id):
        some = list(run)
        pieces.append("[EOS]" * len(some) if is_end else tokenizer.decode(some))
    return _printable("".join(pieces))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], text)


def _labelled(label: str, text: str) -> str:
    return textwrap.indent(text, " " * (len(label) + 4)).replace(" " * (len(label) + 4), f"  {label}  ", 1)


def _show_pairs(manifest: ChatManifest, split: str, first: int, last: int, max_chars: int) -> Iterator[str]:
    width = max(_NARROWEST, shutil.get_terminal_size((120, 0)).columns - 3)
    for number, row in enumerate(islice(_rows(manifest.directory / split / PAIRS), first, last), start=first):
        yield f"pair {number}, {_source_of(manifest.splits[split].sources, number)}"
        for message in row["prompt"]:
            yield _labelled(message["role"].ljust(9), _printable(message["content"])[:max_chars])
        sides = [
            [title, *_wrapped(_printable(row[side][0]["content"])[:max_chars], width // 2)]
            for side, title in (("chosen", "CHOSEN"), ("rejected", "REJECTED"))
        ]
        for left, right in zip_longest(*sides, fillvalue=""):
            yield f"{left.ljust(width // 2)} | {right}".rstrip()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(str(path)) as file:
            for batch in file.iter_batches(_ROWS, use_threads=False):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); run `danube prepare` again"
        ) from None


def _wrapped(text: str, width: int) -> list[str]:
    lines = [textwrap.wrap(line, width, drop_whitespace=False, replace_whitespace=False) for line in text.splitlines()]
    return [part for line in lines for part in (line or [""])]


def _source_of(sources: Mapping[str, int], number: int) -> str:
    end = 0
    for name, samples in sources.items():
        end += samples
        if number < end:
            return name
    return "of no source"
