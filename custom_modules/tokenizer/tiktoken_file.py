"""tiktoken's file of a vocabulary: a line for each token, its bytes in base64 and its rank."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import readable
from custom_modules.text import spelled
from custom_modules.tokenizer.other_files import what_else

CL100K_BASE = "cl100k_base"
CL100K_BASE_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
"""The hash of the file that tiktoken downloads, as its own source has it."""
_ORIGIN = f"{CL100K_BASE}.tiktoken is at https://openaipublic.blob.core.windows.net/encodings/{CL100K_BASE}.tiktoken"
_HASH = re.compile(r"[0-9a-f]{64}")
BYTES = 256


def read_tiktoken(path: Path, sha256: str | None = None, is_any: bool = False) -> list[bytes]:
    """Read the tokens of a file in the order of their ranks, which are their ids.

    The file is the user's to bring. One named ``cl100k_base.tiktoken`` must have that vocabulary's hash.

    Args:
        sha256: that the file must have; needed under another name.
        is_any: take a file of another name whatever its hash.

    Returns:
        The tokens by their ids; all 256 bytes are among them.

    Raises:
        UserError: the file is missing, has another hash or none that is known, or is damaged.
    """
    with readable(path):
        if not path.is_file():
            raise UserError(f"{spelled(path)}: no such file; {_ORIGIN}")
        content = path.read_bytes()
    _check_hash(path, hashlib.sha256(content).hexdigest(), sha256, is_any)
    return _parse(path, content)


def to_tiktoken(tokens: Sequence[bytes]) -> bytes:
    """Make the content of a file of tokens by their ranks."""
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))


def _check_hash(path: Path, found: str, wanted: str | None, is_any: bool) -> None:
    if wanted is not None and not _HASH.fullmatch(wanted.lower()):
        raise UserError(f"--sha256 {wanted}: not a SHA-256; give its 64 hexadecimal digits")
    if wanted is not None and wanted.lower() != found:
        raise UserError(f"--sha256 {wanted}: {spelled(path)} has {found}; give the file that has it, or its own hash")
    if path.name.removesuffix(".tiktoken") == CL100K_BASE:
        if found != CL100K_BASE_SHA256:
            raise UserError(
                f"{spelled(path)}: not {CL100K_BASE}: its SHA-256 is {found}, not {CL100K_BASE_SHA256}; {_ORIGIN}; "
                "give another vocabulary a name of its own"
            )
    elif wanted is None and not is_any:
        if found == CL100K_BASE_SHA256:
            raise UserError(f"{spelled(path)}: it is {CL100K_BASE}; name it so, or give --sha256 {found}")
        raise UserError(
            f"{spelled(path)}: no vocabulary of this name is known; give --sha256 with the hash that it must have (it "
            f"has {found}), or --any to take it as it is; {_ORIGIN}"
        )


def _parse(path: Path, content: bytes) -> list[bytes]:
    tokens: dict[int, bytes] = {}
    lines: dict[bytes | int, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line:
            continue
        token, rank = _parse_line(path, content, number, line)
        for what, key in (("token", token), ("rank", rank)):
            if key in lines:
                shown = line.split()[what == "rank"].decode()
                raise UserError(
                    f"{spelled(path)}:{number}: {what} {shown} is in line {lines[key]} too; give the file as it was "
                    "published"
                )
            lines[key] = number
        tokens[rank] = token
    gap = next((rank for rank in range(len(tokens)) if rank not in tokens), None)
    if gap is not None:
        raise UserError(
            f"{spelled(path)}: no token has rank {gap}, though one has {max(tokens)}; give the file as it was published"
        )
    missing = [byte for byte in range(BYTES) if bytes([byte]) not in lines]
    if missing:
        raise UserError(
            f"{spelled(path)}: {len(missing)} of the {BYTES} bytes have no token, the first is 0x{missing[0]:02X}; "
            "give a vocabulary that has all"
        )
    return [tokens[rank] for rank in range(len(tokens))]


def _parse_line(path: Path, content: bytes, number: int, line: bytes) -> tuple[bytes, int]:
    with suppress(ValueError, binascii.Error):
        encoded, rank = line.split()
        token = base64.b64decode(encoded, validate=True)
        if token and rank.isdigit():
            return token, int(rank)
    advice = (what_else(content) if number == 1 else None) or "give the file as it was published"
    raise UserError(f"{spelled(path)}:{number}: not a token in base64 and its rank; {advice}")
