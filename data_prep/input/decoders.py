"""Decoders of compressed members, and what one says of a member that is damaged."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from data_prep.input.damage import said
from data_prep.input.formats import Codec

_LARGEST_WINDOW_LOG = 31
_CHUNK = 1 << 15
_SMALL_CHUNK = 1 << 9


class Decoder(Protocol):
    """Decodes one member, with the methods of `bz2.BZ2Decompressor`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class GzipDecoder:
    """Decodes a gzip member: zlib's decoder with the methods of `bz2.BZ2Decompressor`."""

    needs_input = True

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Decode what is held back and, where input is needed, more.

        Raises:
            zlib.error: it is damaged; what was decoded in this call is lost.
        """
        given = data if self.needs_input else self._decoder.unconsumed_tail
        found = self._decoder.decompress(given, max(max_length, 0))
        self.needs_input = not self._decoder.unconsumed_tail and len(found) != max_length
        return found


def _zstd_decoder() -> Any:
    from backports.zstd import DecompressionParameter, ZstdDecompressor

    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _LARGEST_WINDOW_LOG})


def _zstd_error() -> type[Exception]:
    from backports.zstd import ZstdError

    return ZstdError


@dataclass(frozen=True)
class Kind:
    """What is to be known of a codec."""

    magic: bytes
    """A pattern of how a member begins."""
    prefix: bytes
    """What every member begins with, as far as that is fixed."""
    decoder: Callable[[], Decoder]
    error: Callable[[], type[Exception]]


KINDS: dict[Codec, Kind] = {
    "gzip": Kind(rb"\x1f\x8b\x08", b"\x1f\x8b\x08", GzipDecoder, lambda: zlib.error),
    "zstd": Kind(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", b"\x28\xb5\x2f\xfd", _zstd_decoder, _zstd_error),
    "xz": Kind(rb"\xfd7zXZ\x00", b"\xfd7zXZ\x00", lzma.LZMADecompressor, lambda: lzma.LZMAError),
    "bzip2": Kind(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)", b"BZh", bz2.BZ2Decompressor, lambda: OSError),
}


def fault_of_member(path: Path, kind: Kind, begin: int) -> str | None:
    """Decode a member and return what its decoder says of its damage; None of one that is whole or cut short.

    Args:
        begin: where in the file it begins.

    Raises:
        OSError: the file cannot be read.
    """
    decoder = kind.decoder()
    with path.open("rb") as file:
        file.seek(begin)
        while not decoder.eof:
            data = file.read(_CHUNK) if decoder.needs_input else b""
            if not data and decoder.needs_input:
                break
            try:
                decoder.decompress(data, _CHUNK)
            except kind.error() as error:
                return said(error)
    return None


def before_damage(path: Path, kind: Kind, begin: int, given: int) -> bytes:
    """Decode a member again, as far as it goes, and return what stands between ``given`` and its damage.

    A decoder that fails takes along what it decoded in the same call: so it is called for a byte at a time.

    Args:
        begin: where in the file the member begins.
        given: bytes of what it holds.
    """
    decoder = kind.decoder()
    found = bytearray()
    with path.open("rb") as file:
        file.seek(begin)
        try:
            while not decoder.eof:
                is_there = given <= 0
                data = file.read(1 if is_there else _SMALL_CHUNK) if decoder.needs_input else b""
                if not data and decoder.needs_input:
                    break
                piece = decoder.decompress(data, 1 if is_there else given)
                if is_there:
                    found += piece
                given -= len(piece)
        except (kind.error(), OSError):
            pass
    return bytes(found)
