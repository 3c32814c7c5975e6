"""What is said of input files that could not be read, whole or in part, and of those that were passed over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from custom_modules.errors import UserError
from custom_modules.text import spelled
from data_prep.input.input_files import DamagedFile, Listing
from data_prep.input.probe import probe_files
from data_prep.input.units import Segment
from data_prep.input.walk import HIDDEN, PassedOver
from data_prep.work.progress import count, say
from data_prep.work.shard import Count

_IN_THE_MESSAGE = 5
_EACH_NAMED = 20
_OF_PREPARE = "data.on_damaged_file"

OnDamagedFile = Literal["fail", "skip"]
"""``data.on_damaged_file``."""


def examine(
    listing: Listing,
    on_damaged_file: OnDamagedFile,
    text_key: str,
    url_key: str | None,
    option: str = _OF_PREPARE,
) -> None:
    """Say what is passed over, and look at how every file begins.

    Args:
        text_key, url_key: as `data_prep.input.readers.read_segment` has them.
        option: the name of ``on_damaged_file`` for the user.

    Raises:
        UserError: a damaged file when it is ``fail``, no file that can be read, or a Parquet file without texts.
    """
    for line in passed_over_lines(listing.passed_over):
        say(line)
    damaged = [*listing.unreadable, *probe_files(listing.files, text_key, url_key)]
    if on_damaged_file == "fail":
        refuse(damaged, option)
    for line in damage_lines(damaged, "cannot be read, whole or in part, which on_damaged_file=skip allows:"):
        say(line)
    if not listing.files:
        raise UserError(f"{damaged[0]}; there is no other file to read: mend it, or give others")


def refuse(damaged: Sequence[DamagedFile], option: str = _OF_PREPARE) -> None:
    """End the command if a file is damaged, with both ways to go on.

    Raises:
        UserError: there is one.
    """
    if not damaged:
        return
    for line in damage_lines(damaged, "cannot be read, whole or in part:") if len(damaged) > _IN_THE_MESSAGE else []:
        say(line)
    more = len(damaged) - _IN_THE_MESSAGE
    named = "; ".join(map(str, damaged[:_IN_THE_MESSAGE])) + (f"; and {more:,} more, listed above" if more > 0 else "")
    goes_on = "; either goes on from the last finished piece" if option == _OF_PREPARE else ""
    raise UserError(
        f"{option}=fail: {count(len(damaged), 'file')} cannot be read, whole or in part: {named}. Mend what you can "
        f"and run the same command, or keep what can be read with {option}=skip{goes_on}"
    )


def find_damaged(segments: Iterable[tuple[Segment, Count]]) -> list[DamagedFile]:
    """Return every file with a damaged segment once, with the first reason and the number of others."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for segment, counts in segments:
        if counts.damage:
            of_file = reasons.setdefault((segment.file.shown, segment.file.source), [])
            of_file += [reason for reason in counts.damage if reason not in of_file]
    return [
        DamagedFile(path, source, first + (f"; and {count(len(more), 'more place')}" if more else ""))
        for (path, source), (first, *more) in reasons.items()
    ]


def find_warnings(segments: Iterable[tuple[Segment, Count]]) -> list[str]:
    """Return what is odd about files and costs no text."""
    return [f"{segment.file.shown}: {warning}" for segment, counts in segments for warning in counts.warnings]


def damage_lines(
    damaged: Sequence[DamagedFile], what: str = "could not be read, whole or in part; what could be read is kept:"
) -> list[str]:
    """A heading, and every file that could not be read, whole or in part."""
    return [f"{count(len(damaged), 'file')} {what}", *(f"  {file}" for file in damaged)] if damaged else []


def passed_over_lines(
    passed_over: Sequence[PassedOver], heading: str = "passed over, for it is no input:"
) -> list[str]:
    """A heading, and a line for each suffix and for each thing that is told by its name."""
    if not passed_over:
        return []
    kinds: dict[str, list[PassedOver]] = {}
    for one in passed_over:
        kinds.setdefault(one.what, []).append(one)
    lines = [heading]
    for what, ones in kinds.items():
        if not ones[0].is_named:
            sizes = [one.bytes for one in ones if one.bytes is not None]
            size = f", {sum(sizes):,} bytes" if sizes else ""
            noun = "name" if what == HIDDEN else "file"
            first = "the first " if len(ones) > 1 else ""
            lines.append(f"  {what}: {count(len(ones), noun)}{size}, {first}{spelled(ones[0].path)}")
            continue
        for one in ones[:_EACH_NAMED]:
            size = f", {one.bytes:,} bytes" if one.bytes is not None else ""
            remedy = f"; to read it: {one.remedy}" if one.remedy else ""
            lines.append(f"  {spelled(one.path)}: {what}{size}{remedy}")
        if len(ones) > _EACH_NAMED:
            lines.append(f"  and {len(ones) - _EACH_NAMED:,} more: {what}")
    return lines
