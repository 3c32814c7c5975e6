"""Text for people: tables, sizes, durations, values of a config, and lines on stderr."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table: the first column flush left, the others flush right."""
    cells = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        yield "  " + "  ".join(padded).rstrip()


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of nested mappings in dotted form, and their values."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def as_yaml(value: object) -> str:
    """Write a value as a config file or an override has it; in quotes where a space at its end would not be seen, or a
    colon would meet that of a message."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {as_yaml(item)}' for key, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(as_yaml, value))}]"
    if isinstance(value, str) and (value != value.strip() or value.endswith(":")):
        return f"'{value}'"
    return str(value).lower() if isinstance(value, bool) else str(value)


def spelled(path: str | os.PathLike[str]) -> str:
    """Write a path on one line: bytes that are no UTF-8, and control characters, as escapes such as ``\\xe9``.

    That is how a name is shown and stored, and what a shell's ``$'...'`` takes; only the path itself opens the file.
    """
    text = os.fsencode(path).decode(errors="backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def decimal_bytes(size: int) -> str:
    """Write a size in the unit that leaves one to three digits before the point."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:,.2f} {unit}"
    return f"{size:,} bytes"


def say(message: str) -> None:
    """A line for people, on stderr; a log that cannot be written, as on a full disk, stops nothing."""
    with suppress(OSError):
        print(f"{time.strftime('%H:%M:%S')}  {message}", file=sys.stderr, flush=True)


@cache
def say_once(message: str) -> None:
    """Say something of the command line on stderr, once, whoever loads its config how often.

    Of the processes of a run the first says it: the one that starts the others, or the one of rank 0.
    """
    several = any(int(os.environ.get(name) or 1) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    rank = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)
    if "DANUBE_LAUNCHER_PID" not in os.environ and not (several and rank):
        with suppress(OSError):
            print(f"danube: {message}", file=sys.stderr, flush=True)


def human_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02d}h" if days else f"{hours}:{minutes:02d}:{rest:02d}"
