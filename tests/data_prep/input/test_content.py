"""A file that is something else than its suffix says is named as what it is, in every format, before it is read."""

from __future__ import annotations

import bz2
import io
import lzma
import zipfile
from pathlib import Path

import pyarrow
import pytest
from backports import zstd
from pyarrow import parquet

from data_prep.input.documents import Damage
from data_prep.input.input_files import InputFile
from data_prep.input.probe import probe
from tests.support.reading import json_lines, read
from tests.support.texts import gzipped, random_texts

TEXTS = random_texts(30)
LINES = json_lines(TEXTS)


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.jsonl", LINES)
    return content.getvalue()


def table() -> bytes:
    content = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": TEXTS}), content)
    return content.getvalue()


KINDS: dict[str, tuple[bytes, str]] = {
    "git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "it is a git-lfs pointer, not the file itself (`git lfs pull` fetches it)",
    ),
    "git-annex": (b"/annex/objects/MD5E-s1--a.gz\n", "it is a git-annex pointer, not the file itself"),
    "HTML": (b"\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>", "it is a web page (HTML)"),
    "upper HTML": (b"\xef\xbb\xbf<HTML><BODY>Access denied</BODY></HTML>", "it is a web page (HTML)"),
    "gzip": (gzipped(LINES), "it is gzip data"),
    "zstd": (zstd.compress(LINES), "it is zstd data"),
    "xz": (lzma.compress(LINES), "it is xz data"),
    "bzip2": (bz2.compress(LINES), "it is bzip2 data"),
    "Parquet": (table(), "it is Parquet"),
    "ZIP": (zipped(), "it is a ZIP archive"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "it is a PDF"),
    "zeros": (bytes(10_000), "it is zero bytes only"),
    "UTF-16": (LINES.decode().encode("utf-16"), "it is text in UTF-16"),
    "UTF-16 without a mark": (LINES.decode().encode("utf-16-be"), "it is text in UTF-16"),
}
OWN = {"a.jsonl.gz": "gzip", "a.json.zst": "zstd", "a.ndjson.xz": "xz", "a.jsonl.bz2": "bzip2", "a.parquet": "Parquet"}
"""The kind that a file of the name should be."""


@pytest.mark.parametrize("name", [*OWN, "a.jsonl", "a.json", "a.ndjson", "a.txt"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_named(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    content, expected = KINDS[kind]
    path.write_bytes(content)
    found, damage = read(path), probe(InputFile.of(path), "text", None)
    if OWN.get(name) == kind:
        assert found.texts == TEXTS and damage is None
        return
    assert not found.texts and not found.rejected
    assert isinstance(damage, Damage) and found.damage == [damage.reason]
    assert damage.reason.startswith(expected)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b"<?xml version='1.0'?><Error>AccessDenied</Error>", "it is an XML document"),
        ("a.jsonl.gz", LINES, "it is uncompressed JSON, no gzip data"),
        ("a.jsonl.zst", b"some text", "it is something else, no zstd data"),
        ("a.jsonl.gz", gzipped(KINDS["git-lfs"][0]), "it holds a git-lfs pointer"),
        ("a.jsonl.gz", gzipped(gzipped(LINES)), "it holds gzip data"),
        ("a.jsonl.bz2", bz2.compress(b"<html><body>no</body></html>"), "it holds a web page (HTML)"),
        ("a.parquet", b"some text", "it is no Parquet file"),
        ("a.parquet", b"PAR1", "cut short: it has no Parquet footer at its end"),
        ("a.parquet", table()[:-20], "cut short: it has no Parquet footer at its end"),
        ("a.parquet", table()[:-60] + b"\xff" * 52 + table()[-8:], "its Parquet footer is damaged ("),
        ("a.parquet", table()[:-8] + b"\xff\xff\xff\x7fPAR1", "its Parquet footer is damaged ("),
        ("a.parquet", b"PARE" + table()[4:-4] + b"PARE", "it is an encrypted Parquet file"),
    ],
)
def test_siblings_of_these_are_named(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    damage = probe(InputFile.of(path), "text", None)
    assert isinstance(damage, Damage) and read(path).damage == [damage.reason]
    assert damage.reason.startswith(expected) and damage.reason.isprintable()


@pytest.mark.parametrize(
    "content",
    [
        b"<p>A text that begins with a tag</p>",
        b"<?xml version='1.0'?><TEI/>",
        b"PAR1 is a gene.",
        b"version 2 of it",
        b"{}",
    ],
)
def test_text_that_only_looks_like_it_is_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert read(tmp_path / "a.txt").texts == [content.decode()]
