"""Compressed files: whole, cut, overwritten, padded. The references are the standard library and zstd's own decoder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.input.documents import Damage
from data_prep.input.input_files import InputFile
from data_prep.input.probe import probe
from tests.support.reading import Found, json_lines, read
from tests.support.texts import random_texts

Compress = Callable[[bytes], bytes]

CODECS: dict[str, Compress] = {
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".zst": zstd.compress,
    ".zstd": lambda content: zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
SKIPPABLE = b"\x53\x2a\x4d\x18\x05\x00\x00\x00hello"
TEXTS = random_texts(600, words=60, seed=3)
codecs = pytest.mark.parametrize("suffix", CODECS)


def decoder(suffix: str) -> tuple[Callable[[bytes], bytes], type[Exception]]:
    """A decoder that holds almost nothing back of what it is given, a byte at a time."""
    if suffix == ".gz":
        return zlib.decompressobj(31).decompress, zlib.error
    if suffix == ".xz":
        return lzma.LZMADecompressor().decompress, lzma.LZMAError
    if suffix == ".bz2":
        return bz2.BZ2Decompressor().decompress, OSError
    return zstd.ZstdDecompressor().decompress, zstd.ZstdError


def decoded(suffix: str, packed: bytes) -> bytes:
    """All that comes out of the beginning of a member."""
    decompress, _ = decoder(suffix)
    return b"".join(decompress(packed[place : place + 1]) for place in range(len(packed)))


def whole_lines(content: bytes) -> int:
    return content.count(b"\n")


@codecs
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson", "A.JSONL"])
def test_members_one_behind_the_other_are_read_whatever_the_suffix(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"{name}{suffix}"
    pack = CODECS[suffix]
    halves = [json_lines(TEXTS[:100]), b"", json_lines(TEXTS[100:200])]
    path.write_bytes(b"".join(map(pack, halves)))
    assert read(path) == Found(TEXTS[:200], list(range(1, 201)))


@codecs
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_is_cut_anywhere_gives_every_whole_line_before_that(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    texts = TEXTS[:120]
    packed = CODECS[suffix](json_lines(texts))
    first = CODECS[suffix](json_lines(texts[:3]))
    cut = data.draw(st.integers(1, len(packed) - 1))
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(first + packed[:cut])
    found = read(path)
    count = len(found.texts)
    assert count >= 3 + whole_lines(decoded(suffix, packed[:cut]))
    assert found.texts == (texts[:3] + texts)[:count] and not found.rejected
    assert found.damage == [f"cut short: what follows line {count} is lost"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [suffix for suffix in CODECS if suffix != ".zst"])
def test_a_damage_far_inside_costs_nothing_that_stands_before_it(tmp_path: Path, suffix: str) -> None:
    """Bytes are overwritten behind more than a megabyte of text. Without a checksum nobody would know."""
    texts = random_texts(6_000, seed=5)
    packed = CODECS[suffix](json_lines(texts))
    place = len(packed) * 9 // 10
    before = whole_lines(decoded(suffix, packed[:place]))
    damaged = bytearray(packed)
    damaged[place : place + 60] = random.Random(1).randbytes(60)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(damaged)
    found = read(path)
    assert len(found.texts) >= before and found.texts[:before] == texts[:before]
    assert len(json_lines(texts[:before])) > 1 << 20
    (reason,) = found.damage
    assert reason.startswith("damaged (") and f"what follows line {len(found.texts):,} is lost" in reason
    assert not found.rejected, "a damage is no bad record"


def test_an_ordinary_bad_record_before_a_damage_does_not_end_the_file(tmp_path: Path) -> None:
    lines = json_lines(TEXTS).splitlines(keepends=True)
    lines[10] = b"{bad\n"
    packed = bytearray(gzip.compress(b"".join(lines)))
    packed[-8:-4] = b"\0\0\0\0"  # the checksum
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    found = read(tmp_path / "a.jsonl.gz")
    assert found.texts == TEXTS[:10] + TEXTS[11:]
    assert [line for line, _ in found.rejected] == [11]
    assert found.damage == [
        "damaged (incorrect data check): what follows line 600 is lost, and lines before that may be garbled"
    ]


@codecs
def test_zero_bytes_are_padding_and_others_a_warning(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    packed = CODECS[suffix](json_lines(TEXTS[:50]))
    for padding in (b"\0", bytes(512), bytes(100_000)):
        path.write_bytes(packed + padding)
        assert read(path) == Found(TEXTS[:50], list(range(1, 51)))
        path.write_bytes(packed + padding + packed)
        assert read(path).texts == 2 * TEXTS[:50]
    for garbage in (b"x", b"\0\0ab", b"garbage " * 20_000):
        path.write_bytes(packed + garbage)
        found = read(path)
        assert found.texts == TEXTS[:50] and not found.damage
        assert len(found.warnings) == 1 and f"{len(garbage.lstrip(bytes(1))):,} bytes from byte" in found.warnings[0]


@codecs
def test_other_bytes_before_a_member_are_a_damage(tmp_path: Path, suffix: str) -> None:
    """A member whose first bytes are overwritten looks like them."""
    path = tmp_path / f"a.jsonl{suffix}"
    packed = CODECS[suffix](json_lines(TEXTS[:50]))
    path.write_bytes(packed + b"xx" + packed[2:] + packed)
    found = read(path)
    assert found.texts == TEXTS[:50]
    assert found.damage[0].endswith("what follows line 50 is lost")


def test_a_last_line_without_a_break_is_read_if_it_is_whole(tmp_path: Path) -> None:
    packed = gzip.compress(json_lines(TEXTS[:5]).rstrip(b"\n"))
    (tmp_path / "a.jsonl.gz").write_bytes(packed[:-6])
    found = read(tmp_path / "a.jsonl.gz")
    assert found.texts == TEXTS[:5] and found.damage == ["cut short: what follows line 5 is lost"]


def test_skippable_frames_of_zstd_are_skipped(tmp_path: Path) -> None:
    packed = zstd.compress(json_lines(TEXTS[:5]))
    (tmp_path / "a.jsonl.zst").write_bytes(SKIPPABLE + packed + SKIPPABLE + packed + SKIPPABLE)
    assert read(tmp_path / "a.jsonl.zst") == Found(2 * TEXTS[:5], list(range(1, 11)))


@pytest.mark.parametrize("log", [28, 31])
def test_a_zstd_frame_may_have_a_window_of_two_gigabytes(tmp_path: Path, log: int) -> None:
    """The frame is written by hand: a header with the window, then the lines as one raw block."""
    lines = json_lines(TEXTS[:100])
    block = (len(lines) << 3 | 1).to_bytes(3, "little")
    (tmp_path / "a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd\x00" + bytes([(log - 10) << 3]) + block + lines)
    assert read(tmp_path / "a.jsonl.zst").texts == TEXTS[:100]


@codecs
def test_what_the_first_bytes_tell_is_found_by_looking_at_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    packed = CODECS[suffix](json_lines(TEXTS[:50]))

    def probed(content: bytes) -> str | None:
        path.write_bytes(content)
        found = probe(InputFile.of(path), "text", None)
        return found.reason if isinstance(found, Damage) else None

    assert probed(packed) is None and probed(packed + bytes(512)) is None and probed(packed + b"xxx") is None
    assert probed(packed[:-20]) == "cut short"
    assert str(probed(json_lines(TEXTS))).startswith("it is uncompressed JSON, no ")
    assert str(probed(CODECS[suffix](b"<!DOCTYPE html><p>No such page"))).startswith("it holds a web page (HTML)")
