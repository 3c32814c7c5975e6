"""A record beside a file of answers or judgments: what made them, so that nothing else is mixed with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import readable, whole_file
from custom_modules.text import flatten

SUFFIX = ".settings.json"
_SHOWN = 16


def settle(path: Path, settings: Mapping[str, Any], has_records: bool, output: Path) -> None:
    """Make sure that what is in a file was made as it would be now, and write the record down before the first line.

    Args:
        path: the file of JSON lines, whose record lies beside it.
        settings: nested; each of them has to be the same.
        has_records: whether anything is in the file.
        output: the folder that has it, for the message.

    Raises:
        UserError: there are records and no settings of theirs, or other ones; the first that differs is named.
    """
    record = path.with_name(path.stem + SUFFIX)
    if has_records:
        _check(path, record, settings, output)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_file(record, json.dumps(settings, indent=1, ensure_ascii=False).encode() + b"\n")


def _check(path: Path, record: Path, settings: Mapping[str, Any], output: Path) -> None:
    remedy = f"give another --output, or remove {output}"
    if not record.is_file():
        raise UserError(f"{path}: nothing says what made it: {record.name} is missing; {remedy}")
    try:
        with readable(record):
            there = json.loads(record.read_bytes())
        differs = next(_differences(dict(flatten(there)), dict(flatten(settings))), None)
    except (ValueError, AttributeError) as error:
        raise UserError(f"{record}: not as it was written ({error}); {remedy}") from None
    if differs:
        key, before, now = differs
        raise UserError(f"{path}: made with {key}={before}, and now it is {now}; {remedy}")


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Give the settings that differ, in the order of the new ones, as key and both values."""
    for key in {**now, **there}:
        # As JSON has them: a tuple comes back as a list.
        before, after = (json.dumps(values[key]) if key in values else "absent" for values in (there, now))
        if before != after:
            yield key, _shown(before), _shown(after)


def _shown(value: str) -> str:
    text = value.strip('"')
    is_hash = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return f"{text[:_SHOWN]}..." if is_hash else value
