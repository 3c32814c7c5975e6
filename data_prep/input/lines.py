"""Lines of a segment, plain or compressed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from data_prep.input.compressed import DecompressedFile
from data_prep.input.content import BOM, HEAD_BYTES, what_else
from data_prep.input.damage import EMPTY, head_of, unreadable
from data_prep.input.documents import Damage
from data_prep.input.formats import Codec, format_of
from data_prep.input.json_values import NotJsonError, parse_json
from data_prep.input.units import Segment

_LONGEST_LINE = 1 << 29
_START = 64
_BUFFER = 1 << 20
_LINE_BREAK = ord("\n")


class LongLine(NamedTuple):
    """A line that is too long to be held: it is passed over."""

    start: bytes
    """How it begins."""
    limit: int

    @property
    def reason(self) -> str:
        return f"a line of more than {self.limit:,} bytes"


class LineReader:
    """Lines whose first byte is in a segment; another segment's reader has the one that reaches into it.

    As an iterator it gives a line with its line break, without a byte order mark, or a `LongLine`. Of a line that a
    damage cuts off it gives nothing. At the end, maybe, the damage of the file.

    Args:
        longest: bytes of a line; None: half a gigabyte.
    """

    def __init__(self, segment: Segment, longest: int | None = None) -> None:
        self._longest = longest or _LONGEST_LINE
        kind = format_of(segment.file.path)
        assert kind is not None
        self._segment, self._kind = segment, kind
        self._path = Path(segment.file.path)
        self._packed: DecompressedFile | None = None
        self._stream: io.BufferedReader[Any] | None = None

    @property
    def is_packed(self) -> bool:
        return self._kind.codec is not None

    def fault(self) -> str | None:
        """What a decoder says of the damage of the member that the last line is of; None of one that has none.

        Of a member that is cut short too: what there is of it is as it was.
        """
        if self._packed is None or self._stream is None:
            return None
        with suppress(OSError):
            return self._packed.fault(len(self._stream.peek(1)))
        return None

    def __iter__(self) -> Iterator[bytes | LongLine | Damage]:
        return self._unpacked(self._kind.codec) if self._kind.codec else self._plain()

    def _plain(self) -> Iterator[bytes | LongLine | Damage]:
        segment = self._segment
        try:
            with self._path.open("rb", buffering=_BUFFER) as file:
                if wrong := what_else(os.pread(file.fileno(), HEAD_BYTES, 0), self._kind):
                    yield Damage(f"it is {wrong}")
                    return
                if segment.start:
                    file.seek(segment.start - 1)
                    _pass_over_line(file)
                elif file.read(len(BOM)) != BOM:
                    file.seek(0)
                position = file.tell()
                longest = self._longest
                while position < segment.stop and (line := file.readline(longest)):
                    position += len(line)
                    if line[-1] == _LINE_BREAK or len(line) < longest:
                        yield line
                    else:
                        yield LongLine(line[:_START], longest)
                        _pass_over_line(file)
                        position = file.tell()
        except OSError as error:
            yield unreadable(self._path, error)

    def _unpacked(self, codec: Codec) -> Iterator[bytes | LongLine | Damage]:
        try:
            head = head_of(self._path)
            if not head or (wrong := what_else(head, self._kind)):
                yield Damage(f"it is {wrong}" if head else EMPTY)
                return
            with DecompressedFile(self._path, codec) as packed, io.BufferedReader(packed, _BUFFER) as stream:
                self._packed, self._stream = packed, stream
                if wrong := what_else(stream.peek(HEAD_BYTES)[:HEAD_BYTES], self._kind, is_unpacked=True):
                    yield Damage(f"it holds {wrong}")
                    return
                if stream.peek(len(BOM)).startswith(BOM):
                    stream.read(len(BOM))
                number, longest = 0, self._longest
                while line := stream.readline(longest):
                    number += 1
                    if line[-1] == _LINE_BREAK:
                        yield line
                    elif packed.damage and not _is_whole(line):
                        number -= 1
                    elif len(line) == longest:
                        yield LongLine(line[:_START], longest)
                        _pass_over_line(stream)
                    else:
                        yield line
                if packed.damage:
                    garbled = ", and lines before that may be garbled" if packed.may_be_garbled else ""
                    yield Damage(f"{packed.damage}: what follows line {number:,} is lost{garbled}")
                elif packed.warning:
                    yield Damage(packed.warning, is_lost=False)
        except OSError as error:
            yield unreadable(self._path, error)


def _is_whole(line: bytes) -> bool:
    """Whether a line that may be cut off is whole: a part of an object is no JSON."""
    with suppress(NotJsonError):
        return isinstance(parse_json(line), dict)
    return False


def _pass_over_line(stream: BinaryIO) -> None:
    while (rest := stream.readline(_BUFFER)) and rest[-1] != _LINE_BREAK:
        pass
