"""``danube prune-tokenizer``: a vocabulary of tiktoken's in, a ``tokenizer.json`` of its most useful tokens out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from custom_modules.files import explained, sha256_of, whole_file, whole_folder
from custom_modules.folder_lock import LOCKS, folder_lock
from custom_modules.made import check_claimable, claim, note_files, remove_empty
from custom_modules.system import allow_open_files, usable_cores
from custom_modules.tokenizer.byte_bpe import END_OF_TEXT, Pair, find_parents, write_tokenizer
from custom_modules.tokenizer.tiktoken_file import BYTES, read_tiktoken
from data_prep.vocabulary.count_corpus import TABLES, UNITS
from data_prep.vocabulary.counted_text import RAW, count_text
from data_prep.vocabulary.prune import prune
from data_prep.vocabulary.report import PruningReport, VocabularyFigure
from data_prep.vocabulary.uses import UseCounter
from data_prep.work.damaged_files import OnDamagedFile
from data_prep.work.progress import say
from data_prep.work.workers import Workers, stop_signals

COMMAND = "danube prune-tokenizer"
REPORT = "pruning.json"
"""The file with a `PruningReport` beside the tokenizer."""
_OWN_NAMES = {
    "data.input=": "--on ",
    "data.text_key=": "--text-key ",
    " or smaller data.shard_bytes": "",
    "data.workers": "--workers",
}
"""How this command calls what `danube prepare` has in its config."""
_VOCABULARIES = "vocabularies"


@dataclass(frozen=True)
class PruneOptions:
    """What the command can be told."""

    vocab_size: int | None = None
    """Tokens, with the end of text; None: all of the file's."""
    texts: Sequence[str] = ()
    """Files or folders, or pieces of the builtin corpus, as ``data.input`` has them."""
    sha256: str | None = None
    is_any: bool = False
    text_key: str = "text"
    on_damaged_file: OnDamagedFile = "fail"
    workers: int | None = None
    """Processes; None: one a core."""


def prune_tokenizer(source: Path, output: Path, options: PruneOptions) -> PruningReport | None:
    """Make a tokenizer's folder of a file of tiktoken's, pruned by a text where it is to have fewer tokens.

    Works in ``OUTPUT.work``, which is gone when all is done.

    Returns:
        What was measured; None without a text.

    Raises:
        UserError: a file of tokens that `read_tiktoken` refuses, a size that it cannot have, a folder that is there,
            or a mistake in the text.
        StoppedBySignal: SIGINT or SIGTERM; the same command goes on from the last finished unit.
    """
    tokens = read_tiktoken(source, options.sha256, options.is_any)
    parents = find_parents(tokens)
    size = _check_size(source, tokens, parents, options)
    work = output.with_name(f"{output.name}.work")
    _check_new(output)
    check_claimable(work, COMMAND)
    with explained(None), _own_names():
        if not options.texts:
            _write(output, tokens, parents, range(len(tokens)), None)
            return None
        claim(work, COMMAND)
        with folder_lock(work, "OUT"), stop_signals():
            _check_new(output)
            report, kept = _prune(source, tokens, parents, size, options, work)
            _write(output, tokens, parents, kept, report)
            _clear(work)
        remove_empty(work)
    return report


def _check_size(source: Path, tokens: Sequence[bytes], parents: Sequence[Pair | None], options: PruneOptions) -> int:
    """Return how many tokens there are to be beside the end of text."""
    if options.vocab_size is None:
        return len(tokens)
    given = f"--vocab-size {options.vocab_size}"
    if options.vocab_size <= BYTES:
        raise UserError(
            f"{given}: smaller than the {BYTES} bytes and {END_OF_TEXT}, which always stay; give at least {BYTES + 1}"
        )
    size = options.vocab_size - 1
    if size > len(tokens):
        raise UserError(f"{given}: {source} has {len(tokens):,} tokens and {END_OF_TEXT}; give at most that many")
    made = sum(len(token) == 1 or pair is not None for token, pair in zip(tokens, parents, strict=True))
    if made < size < len(tokens):
        raise UserError(
            f"{given}: merges make {made:,} of the {len(tokens):,} tokens of {source}; give {made + 1} or fewer"
        )
    if size < len(tokens) and not options.texts:
        raise UserError(f"{given}: nothing to choose the tokens by; give text with --on, files or folders")
    return size


def _check_new(output: Path) -> None:
    if os.path.lexists(output):
        raise UserError(f"{output}: already there; give another folder, or remove it first")


def _prune(
    source: Path,
    tokens: Sequence[bytes],
    parents: Sequence[Pair | None],
    size: int,
    options: PruneOptions,
    work: Path,
) -> tuple[PruningReport, Sequence[int]]:
    allow_open_files()
    with Workers(options.workers or usable_cores()) as workers:
        text = count_text(options.texts, options.text_key, options.on_damaged_file, work, workers)
        uses = UseCounter(text.tables, work / _VOCABULARIES, workers)
        in_all = uses.count(tokens, is_whole=_needs_whole(parents))
        kept: Sequence[int] = range(len(tokens))

        def count_kept(kept: Sequence[int]) -> NDArray[np.int64]:
            say(f"pruning: {len(kept):,} tokens, to keep {size:,}")
            if len(kept) == len(tokens):
                return in_all.counted
            return uses.count([tokens[rank] for rank in kept]).counted

        figures = [(source.name, len(tokens), in_all.held_out)]
        if size < len(tokens):
            kept = prune(tokens, parents, size, count_kept)
            for name, ranks in ((f"its first {size:,} ranks", _first(tokens, size)), ("pruned", kept)):
                figures.append((name, size, uses.count([tokens[rank] for rank in ranks]).held_out))
    rows = [
        VocabularyFigure(name, number + 1, text.sizes.held_out_bytes / held_out if held_out else None)
        for name, number, held_out in figures
    ]
    return PruningReport(source.name, sha256_of(source), text.sizes, rows), kept


def _first(tokens: Sequence[bytes], size: int) -> list[int]:
    """The bytes, and the tokens of the lowest ranks beside them."""
    ranks = sorted(range(len(tokens)), key=lambda rank: (len(tokens[rank]) > 1, rank))
    return sorted(ranks[:size])


def _needs_whole(parents: Sequence[Pair | None]) -> bool:
    """Whether there are tokens that tiktoken makes of a whole word alone."""
    return parents.count(None) > BYTES


def _write(
    output: Path,
    tokens: Sequence[bytes],
    parents: Sequence[Pair | None],
    kept: Sequence[int],
    report: PruningReport | None,
) -> None:
    is_whole = len(kept) == len(tokens) and _needs_whole(parents)
    with whole_folder(output, alone=report is not None) as folder:
        write_tokenizer(folder, [tokens[rank] for rank in kept], is_whole)
        if report:
            whole_file(folder / REPORT, report.as_json().encode())
        note_files(folder)


def _clear(work: Path) -> None:
    """Remove what was made on the way, and the lock last."""
    for name in (UNITS, TABLES, RAW, _VOCABULARIES):
        shutil.rmtree(work / name, ignore_errors=True)
    for lock in LOCKS:
        (work / lock).unlink(missing_ok=True)


@contextmanager
def _own_names() -> Iterator[None]:
    """Have errors name this command's options.

    Raises:
        UserError: as it came, in other words.
    """
    try:
        yield
    except UserError as error:
        error.args = tuple(_renamed(each) if isinstance(each, str) else each for each in error.args)
        raise


def _renamed(message: str) -> str:
    for key, option in _OWN_NAMES.items():
        message = message.replace(key, option)
    return message
