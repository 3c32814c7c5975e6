"""Files of tiktoken's: what is read of them, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import random
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from custom_modules.tokenizer.tiktoken_file import CL100K_BASE_SHA256, read_tiktoken, to_tiktoken
from tests.support.tiktoken_files import cl100k_content, write_tiktoken

BYTES = [bytes([byte]) for byte in random.Random(3).sample(range(256), 256)]
TOKENS = [*BYTES, b"ab", b"abc", " é".encode(), b"\xff\xfe"]
LINES = to_tiktoken(TOKENS).splitlines(keepends=True)


@pytest.mark.parametrize(
    "content",
    [
        b"".join(LINES),
        b"".join(reversed(LINES)),
        b"".join(LINES).replace(b"\n", b"\r\n"),
        b"\n".join(LINES).rstrip(),
    ],
    ids=["as written", "backwards", "CR LF", "blank lines and no last line's end"],
)
def test_tokens_come_by_their_ranks(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.tiktoken"
    file.write_bytes(content)
    assert read_tiktoken(file, is_any=True) == TOKENS
    digest = hashlib.sha256(content).hexdigest()
    assert read_tiktoken(file, digest) == read_tiktoken(file, digest.upper()) == TOKENS


def line(token: bytes, rank: object) -> bytes:
    return b"%s %s\n" % (base64.b64encode(token), str(rank).encode())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"".join(LINES[:257] + LINES[258:]), ": no token has rank 257, though one has 259; "),
        (b"".join(LINES[1:]), ": no token has rank 0, though one has 259; "),
        (b"".join(LINES) + line(b"new", 261), ": no token has rank 260, though one has 261; "),
        (b"".join(LINES) + line(b"abc", 260), ":261: token YWJj is in line 258 too; "),
        (b"".join(LINES) + line(b"new", 17), ":261: rank 17 is in line 18 too; "),
        (b"".join(LINES) + LINES[4], ":261: token .* is in line 5 too; "),
        (b"".join(LINES) + b"a!b= 260\n", ":261: not a token in base64 and its rank; "),
        (b"".join(LINES) + b" 260\n", ":261: not a token in base64 and its rank; "),
        (b"".join(LINES) + b"YQ== 26O\n", ":261: not a token in base64 and its rank; "),
        (b"".join(LINES) + b"YQ== -1\n", ":261: not a token in base64 and its rank; "),
        (b"".join(LINES)[:-5], ":260: "),
        (to_tiktoken([*BYTES[:100], *BYTES[102:]]), "2 of the 256 bytes have no token, the first is 0x"),
        (b"", ": 256 of the 256 bytes have no token, the first is 0x00; "),
        (b'{"model": {"type": "BPE"}}', ":1: not a token .* it is a tokenizer.json; "),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ":1: not a token .* git-lfs pointer; "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "mine.tiktoken"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"^{file}.*{says}") as caught:
        read_tiktoken(file, is_any=True)
    assert "\n" not in str(caught.value)


ORIGIN = r"cl100k_base\.tiktoken is at https://openaipublic\.blob\.core\.windows\.net/\S+"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("cl100k_base.tiktoken", {}, rf"not cl100k_base: .* not {CL100K_BASE_SHA256}; {ORIGIN}"),
        ("cl100k_base.tiktoken", {"is_any": True}, "not cl100k_base: .* give another vocabulary a name of its own"),
        ("cl100k_base", {}, "not cl100k_base: "),
        ("mine.tiktoken", {}, rf"no vocabulary of this name .* --sha256 .*HASH.* --any .*{ORIGIN}"),
        ("mine.tiktoken", {"sha256": "0" * 64}, "--sha256 0+: .*mine.tiktoken has HASH; "),
        ("mine.tiktoken", {"sha256": "12ab"}, "--sha256 12ab: not a SHA-256; give its 64 hexadecimal digits"),
    ],
)
def test_a_vocabulary_that_is_not_known_is_refused(
    tmp_path: Path, name: str, options: dict[str, object], says: str
) -> None:
    file = write_tiktoken(tmp_path / name, TOKENS)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=says.replace("HASH", digest)):
        read_tiktoken(file, **options)  # type: ignore[arg-type]


def test_a_missing_file_is_told_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/cl100k_base.tiktoken: no such file; {ORIGIN}"):
        read_tiktoken(tmp_path / "cl100k_base.tiktoken")


def test_cl100k_base_is_known_by_its_name_alone(tmp_path: Path) -> None:
    file = tmp_path / "cl100k_base.tiktoken"
    file.write_bytes(cl100k_content())
    assert len(read_tiktoken(file)) == 100_256
    with pytest.raises(UserError, match=f"it is cl100k_base; name it so, or give --sha256 {CL100K_BASE_SHA256}"):
        read_tiktoken(file.rename(tmp_path / "other.tiktoken"))
    file.write_bytes(cl100k_content().replace(b" 99999\n", b" 99999 \n"))
    with pytest.raises(UserError, match="not cl100k_base: "):
        read_tiktoken(file)
