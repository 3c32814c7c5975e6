"""What a file holds that is not what its suffix says, told by its first bytes."""

from __future__ import annotations

import re

from data_prep.input.formats import Format

HEAD_BYTES = 1 << 12
"""As much of a file as is looked at."""

BOM = b"\xef\xbb\xbf"

_MAGIC = {
    "gzip data": rb"\x1f\x8b\x08",
    "zstd data": rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18",
    "xz data": rb"\xfd7zXZ\x00",
    "bzip2 data": rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)",
    "Parquet": rb"PAR1\x15",
    "an encrypted Parquet file": rb"PARE",
    "an Arrow file": rb"ARROW1",
    "a ZIP archive": rb"PK\x03\x04",
    "a 7z archive": rb"7z\xbc\xaf\x27\x1c",
    "a tar archive": rb"(?s).{257}ustar",
    "a PDF": rb"%PDF-\d",
    "an Avro file": rb"Obj\x01",
    "an SQLite database": rb"SQLite format 3\x00",
    "an HDF5 file": rb"\x89HDF",
    "zero bytes only, as a crash leaves them": rb"(?s)\x00+\Z",
    "text in UTF-16 or UTF-32, not UTF-8 (`iconv -t UTF-8` converts it)": (
        rb"\xff\xfe|\xfe\xff|\x00\x00\xfe\xff|[{\[]\x00|\x00[{\[]|([^\x00]\x00){8}|(\x00[^\x00]){8}"
    ),
}
_POINTERS = {
    "a git-lfs pointer, not the file itself (`git lfs pull` fetches it)": rb"version https://git-lfs\.github\.com/",
    "a git-annex pointer, not the file itself (`git annex get` fetches it)": rb"[./]*(git/)?annex/objects/",
}
_XML = "an XML document, as a failed download leaves"
_MARKUP = {
    "a web page (HTML), as a failed download leaves": rb"(?i)<(!doctype\s+html|html|head|body|title)\b",
    _XML: rb"<\?xml\b",
}


def what_it_is(head: bytes) -> str | None:
    """Name the kind of a file by how it begins; None where that says nothing."""
    start = head.removeprefix(BOM).lstrip()
    return _first(_MAGIC, head) or _first(_POINTERS, start) or _first(_MARKUP, start)


def what_else(head: bytes, kind: Format, is_unpacked: bool = False) -> str | None:
    """What a file is in place of its format; None where its first bytes are no reason to doubt that.

    Args:
        head: how it begins, up to `HEAD_BYTES`.
        is_unpacked: ``head`` is of what came out of a compressed file.
    """
    found = what_it_is(head)
    if kind.codec and not is_unpacked:
        if found == kind.name:
            return None
        plain = "uncompressed JSON" if head.removeprefix(BOM).lstrip()[:1] in (b"{", b"[") else "something else"
        return found or f"{plain}, no {kind.name}"
    if kind.layout == "text" and found == _XML:
        return None
    return found


def _first(patterns: dict[str, bytes], head: bytes) -> str | None:
    return next((kind for kind, pattern in patterns.items() if re.match(pattern, head)), None)
