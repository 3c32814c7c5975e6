"""The formats of input files, told by their suffixes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

Layout = Literal["lines", "parquet", "text"]
"""How documents stand in a file: one a line of JSON, one a row, or the whole file as one."""

Codec = Literal["gzip", "zstd", "xz", "bzip2"]

_LINES = ("jsonl", "ndjson", "json")
_CODECS: dict[str, Codec] = {"gz": "gzip", "zst": "zstd", "zstd": "zstd", "xz": "xz", "bz2": "bzip2"}

SUFFIXES = (
    f"{' '.join(f'.{name}' for name in _LINES)} (each also {' '.join(f'.{name}' for name in _CODECS)}) .parquet .txt"
)
"""All suffixes of an input file, for messages."""


@dataclass(frozen=True)
class Format:
    """What a suffix says of a file."""

    suffix: str
    layout: Layout
    codec: Codec | None = None

    @property
    def name(self) -> str:
        """What a file of it should be, for messages."""
        if self.codec:
            return f"{self.codec} data"
        return {"lines": "JSON lines", "parquet": "Parquet", "text": "plain text"}[self.layout]

    @property
    def may_be_one_value(self) -> bool:
        """Whether files of that suffix are as often one JSON value as lines of them."""
        return self.suffix.startswith(".json") and not self.suffix.startswith(".jsonl")


_FORMATS = (
    *(Format(f".{name}", "lines") for name in _LINES),
    *(Format(f".{name}.{packed}", "lines", codec) for name, (packed, codec) in product(_LINES, _CODECS.items())),
    Format(".parquet", "parquet"),
    Format(".txt", "text"),
)


def format_of(path: str | Path) -> Format | None:
    """The format by the file's suffix; None for a file that is not an input."""
    name = Path(path).name.lower()
    return next((known for known in _FORMATS if name.endswith(known.suffix)), None)
