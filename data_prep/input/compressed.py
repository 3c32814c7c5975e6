"""Compressed files as streams: every member of them, and all that stands before a damage."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from data_prep.input.damage import said
from data_prep.input.decoders import KINDS, Decoder, before_damage, fault_of_member
from data_prep.input.formats import Codec

_FILE_BUFFER = 1 << 17
_CHUNK = 1 << 15
_LONGEST_MAGIC = 16
_REMEMBERED = 1 << 22
"""Bytes that were given last, whose members are known."""
_FORGOTTEN_AT_ONCE = 1 << 10


class DecompressedFile(io.RawIOBase):
    """What the members of a file hold, one behind the other, up to its end or its damage.

    Zero bytes between and behind members are padding. Memory: a megabyte, and the window that a zstd frame asks for as
    far as it is filled.

    Args:
        path: the file.
        codec: what it is compressed with.

    Raises:
        OSError: it cannot be opened.
    """

    damage: str | None = None
    """Once the end is reached: why there is no more, if the file has more."""
    may_be_garbled = False
    """Whether what was given last may be wrong: a decoder notices some damages late."""
    warning: str | None = None
    """Once the end is reached: what stands behind the last member."""

    def __init__(self, path: Path, codec: Codec) -> None:
        self._path, self._kind, self._codec = path, KINDS[codec], codec
        self._file: BinaryIO = path.open("rb", buffering=_FILE_BUFFER)
        self._decoder: Decoder | None = None
        self._pending = b""
        self._begin = 0
        """Where the member begins in the file."""
        self._given = self._given_before = 0
        """What was given of the member, in bytes, and of those before it."""
        self._members: list[tuple[int, int]] = []
        """Where the last members begin: in what was given, and in the file."""
        self._fault: tuple[int, str | None] | None = None
        """Where the member begins that was last asked for, and what is wrong with it."""
        self._last = b""
        """What is still to be given when nothing more is decoded."""
        self._has_begun = False
        self._is_over = False

    @property
    def position(self) -> int:
        """Bytes of the file that have been read."""
        return self._file.tell()

    def fault(self, unread: int) -> str | None:
        """What a decoder says of the damage of a member; None of one that is whole or cut short. It decodes all of it.

        Args:
            unread: how many of the bytes that were given are behind the one whose member is meant.

        Raises:
            OSError: the file cannot be read.
        """
        place = self._given_before + self._given - unread - 1
        begin = self._members[max(bisect_right(self._members, place, key=itemgetter(0)) - 1, 0)][1]
        if self._fault is None or self._fault[0] != begin:
            self._fault = begin, fault_of_member(self._path, self._kind, begin)
        return self._fault[1]

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or a part of it; 0 at the end."""
        size = len(buffer)
        found = b""
        while not found and not self._is_over:
            found = self._decode(size)
        if self._is_over and not found:
            found, self._last = self._last[:size], self._last[size:]
        buffer[: len(found)] = found
        return len(found)

    def _decode(self, size: int) -> bytes:
        if self._decoder is None:
            self._next_member()
            return b""
        data = b""
        if self._decoder.needs_input:
            data, self._pending = self._pending or self._read(), b""
            if not data:
                self._end("cut short")
                return b""
        try:
            found = self._decoder.decompress(data, size)
        except self._kind.error() as error:
            self._end(f"damaged ({said(error)})")
            self.may_be_garbled = True
            self._last = before_damage(self._path, self._kind, self._begin, self._given)
            self._given += len(self._last)
            return b""
        self._given += len(found)
        if self._decoder.eof:
            self._pending, self._decoder = self._decoder.unused_data, None
        return found

    def _read(self, size: int = _CHUNK) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self._end(f"cannot be read on ({error.strerror})")
            return b""

    def _next_member(self) -> None:
        """Step over padding to the next member, or find that there is none."""
        if self._has_begun:
            self._pending = self._pending.lstrip(b"\0")
            while not self._pending and (data := self._read()):
                self._pending = data.lstrip(b"\0")
        if len(self._pending) < _LONGEST_MAGIC:
            self._pending += self._read()
        if re.match(self._kind.magic, self._pending):
            self._begin = self._file.tell() - len(self._pending)
            self._given, self._given_before = 0, self._given_before + self._given
            self._remember()
            self._decoder = self._kind.decoder()
            self._has_begun = True
        elif len(self._pending) < _LONGEST_MAGIC and self._kind.prefix.startswith(self._pending[:3]):
            self._is_over = True
            if self._pending or not self._has_begun:
                self._end("cut short")
        else:
            self._foreign()

    def _remember(self) -> None:
        self._members.append((self._given_before, self._begin))
        if len(self._members) % _FORGOTTEN_AT_ONCE == 0:
            old = bisect_right(self._members, self._given_before - _REMEMBERED, key=itemgetter(0))
            del self._members[: max(old - 1, 0)]

    def _foreign(self) -> None:
        """Judge bytes that begin no member: a member behind them says that they are a damaged one."""
        begin = self._file.tell() - len(self._pending)
        number, block = len(self._pending), self._pending
        while True:
            if not self._has_begun or re.search(self._kind.magic, block):
                self._end(f"damaged (no {self._codec} data at byte {begin:,})")
                return
            if not (more := self._read(_FILE_BUFFER)):
                break
            number += len(more)
            block = block[-_LONGEST_MAGIC:] + more
        self.warning = f"{number:,} bytes from byte {begin:,} on, behind its {self._codec} data, are not read"
        self._is_over = True

    def _end(self, damage: str) -> None:
        self.damage = self.damage or damage
        self._is_over = True
