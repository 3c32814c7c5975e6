"""Objects of a file that is one JSON array, taken out one at a time."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from data_prep.input.compressed import DecompressedFile
from data_prep.input.content import BOM
from data_prep.input.damage import unreadable
from data_prep.input.documents import Damage, Rejection
from data_prep.input.formats import Codec, format_of
from data_prep.input.json_lines import WholeRecord
from data_prep.input.json_values import LOOSE_DECODER

_BLOCK = 1 << 20
_LONGEST = 1 << 29
"""Characters of an element that are held."""
_CUT_OFF = 32
"""Characters at the end of a text that a token may be cut off in: what the decoder says of them means nothing."""
_PART_OF_A_TOKEN = re.compile(r"[-+.\\\w]*")
_SPACE = " \t\n\r"
_ENDS_A_TOKEN = f"{_SPACE},]"


class _Broken(Exception):
    """An element that is no JSON, so that nobody knows where the next one begins."""


class _Cut(Exception):
    """The file ends inside the array."""


def read_array(path: str) -> Iterator[WholeRecord | Rejection | Damage]:
    """Stream the objects of an array with their numbers from 1, what is no object, and the damage of the file.

    Memory does not grow with the file. Bytes that are no UTF-8 become lone surrogates, which no text may have.
    """
    kind = format_of(path)
    assert kind is not None
    try:
        with ExitStack() as stack:
            packed = stack.enter_context(DecompressedFile(Path(path), kind.codec)) if kind.codec else None
            raw: Any = packed or stack.enter_context(Path(path).open("rb", buffering=0))
            stream = stack.enter_context(io.BufferedReader(raw, _BLOCK))
            yield from _elements(_Text(stream), packed, kind.codec)
    except OSError as error:
        yield unreadable(path, error)


def _elements(
    text: _Text, packed: DecompressedFile | None, codec: Codec | None
) -> Iterator[WholeRecord | Rejection | Damage]:
    number = 0
    try:
        assert text.next_token() == "["
        text.step()
        while (token := text.next_token()) != "]":
            if number:
                if token != ",":
                    raise _Broken("no comma before it")
                text.step()
            value = text.value()
            number += 1
            if isinstance(value, dict):
                yield WholeRecord(number, value)
            else:
                yield Rejection("not a JSON object", number)
        text.step()
    except _Broken as fault:
        yield Damage(f"element {number + 1:,} is invalid JSON ({fault}): it and what follows it are lost")
        return
    except _Cut:
        why = packed.damage if packed and packed.damage else "cut short"
        yield Damage(f"{why}: what follows element {number:,} is lost")
        return
    if not text.is_at_end():
        yield Damage("what stands behind its array is not read", is_lost=False)
    elif packed and (packed.damage or packed.warning):
        yield Damage(packed.damage or packed.warning or "", is_lost=packed.damage is not None)
    elif not number:
        yield Rejection("the array is empty", 1)


class _Text:
    """Characters of a stream from a place on that only moves forward."""

    def __init__(self, stream: io.BufferedReader[Any]) -> None:
        if stream.peek(len(BOM)).startswith(BOM):
            stream.read(len(BOM))
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._place = "", 0
        self._has_ended = False

    def next_token(self) -> str:
        """Pass over white space and return the character there.

        Raises:
            _Cut: there is none.
        """
        if self.is_at_end():
            raise _Cut
        return self._text[self._place]

    def is_at_end(self) -> bool:
        """Pass over white space and tell whether nothing follows it."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in _SPACE:
                self._place += 1
            if self._place < len(self._text):
                return False
            if not self._read_more(_BLOCK):
                return True

    def step(self) -> None:
        """Pass over a character."""
        self._place += 1

    def value(self) -> Any:
        """Return the value that begins here, behind white space, and pass over it.

        Raises:
            _Cut: the stream ends inside it.
            _Broken: it is no JSON, or too long to be held.
        """
        self.next_token()
        wanted = _BLOCK
        while True:
            try:
                value, end = LOOSE_DECODER.raw_decode(self._text, self._place)
                if isinstance(value, dict | list) or self._has_ended or self._is_whole(end):
                    self._place = end
                    return value
            except ValueError as error:
                # Of a string that is not closed the decoder names the beginning.
                place = getattr(error, "pos", 0)
                may_be_cut = (
                    _PART_OF_A_TOKEN.fullmatch(self._text, place)
                    if self._has_ended
                    else place >= len(self._text) - _CUT_OFF
                )
                if not (may_be_cut or str(error).startswith("Unterminated string")):
                    raise _Broken(getattr(error, "msg", str(error))) from None
            except RecursionError:
                raise _Broken("nested too deeply") from None
            if len(self._text) - self._place > _LONGEST:
                raise _Broken(f"more than {_LONGEST:,} characters")
            if self._has_ended:
                raise _Cut
            self._read_more(wanted)
            wanted *= 2

    def _is_whole(self, end: int) -> bool:
        """Tell whether a value ends there however the text goes on: of ``1.5`` the first may be ``1``, then ``1.``."""
        return end < len(self._text) - _CUT_OFF or (end < len(self._text) and self._text[end] in _ENDS_A_TOKEN)

    def _read_more(self, size: int) -> bool:
        """Add to the text, and forget what was passed over; False at the end of the stream."""
        if self._has_ended:
            return False
        block = self._stream.read(size)
        self._has_ended = not block
        self._text = self._text[self._place :] + self._decoder.decode(block, final=not block)
        self._place = 0
        return bool(block)
