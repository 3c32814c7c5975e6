"""JSON as it comes: what RFC 8259 allows, and NaN, Infinity and lone surrogates beside."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_DIGITS_OF_AN_INT = 4_000


class NotJsonError(ValueError):
    """What is wrong with a line."""


def parse_json(line: bytes) -> Any:
    """Return the value of a line.

    Raises:
        NotJsonError: it is no JSON, or not UTF-8.
    """
    return parse_either(line)[0]


def parse_either(line: bytes) -> tuple[Any, bool]:
    """Return the value of a line, and whether it is one by the standard.

    Raises:
        NotJsonError: it is no JSON, or not UTF-8.
    """
    try:
        return orjson.loads(line), True
    except orjson.JSONDecodeError as error:
        return parse_loosely(line, error), False


def parse_loosely(line: bytes, refusal: orjson.JSONDecodeError) -> Any:
    """Return the value of a line that orjson refuses: of NaN, of numbers beyond a double, of lone surrogates; or one
    behind a byte order mark, as files that were joined have them.

    Strings may hold lone surrogates, which cannot be encoded.

    Raises:
        NotJsonError: it is no JSON in this sense either, or not UTF-8.
    """
    try:
        return LOOSE_DECODER.decode(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise NotJsonError(f"invalid UTF-8 at byte {error.start} of the line") from None
    except (ValueError, RecursionError):
        raise NotJsonError(f"invalid JSON ({refusal.msg})") from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS_OF_AN_INT else float(digits)


LOOSE_DECODER = json.JSONDecoder(parse_int=_integer)
"""Takes NaN, Infinity, lone surrogates and numbers of any length."""
