"""The text that a machine has, each paragraph once: documents for people, manuals, licences, source code.

It is read out of folders: files that are text, pages without their markup, manuals without their macros, and what is in
packages (``.deb``, ``.whl``, ``.zip``, ``.tar.gz``). A document whose text has been seen is left out; of one that is
partly new, such as another version of a file, only the new paragraphs stay.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from stat import S_ISREG

import orjson

from data_prep.builtin.docstrings import paragraphs
from data_prep.work.workers import Workers

PROSE = frozenset((".md", ".rst", ".txt", ".texi", ".adoc", ".pod", ""))
PAGES = frozenset((".html", ".htm", ".xhtml"))
_CODE = """
    .py .pyi .pyx .h .hpp .hh .c .cc .cpp .cu .cuh .rs .go .java .kt .scala .pm .pl .t .rb .php .sh .el .vim .lua .r .jl
    .sql .proto .cmake .m4 .tcl .ts .swift .cs .f90 .tex .bib
"""
CODE = frozenset(_CODE.split())
PACKAGES = (".deb", ".whl", ".zip", ".tar.gz", ".tgz")
_MANUAL = re.compile(r"/man[1-9]\w*/[^/]+$")
_TRANSLATED = re.compile(r"/(?:man|help|locale)/[a-z]{2}(?:[_@.]\w+)?/")
_MARKUP = re.compile(r"<(script|style|head|nav)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_BLOCK = re.compile(r"</(?:p|div|li|h\d|tr|section|pre|dd|dt)\s*>|<br\s*/?>", re.IGNORECASE)
_MACRO = re.compile(r"^[.'].*$", re.MULTILINE)
_FONT = re.compile(r"\\f(?:\[\w*\]|\(\w\w|\w)|\\[&|^/,]|\\s[-+]?\d")
_PARAGRAPH = re.compile(r"\n\s*\n")
_MIN_DOCUMENT, _MAX_DOCUMENT = 200, 1_000_000
_FILES_A_CALL = 64

Found = list[tuple[str, bool]]
"""Texts, and whether each is English."""


@dataclass
class Collected:
    """What a collection came to."""

    documents: int = 0
    """Read."""
    copies: int = 0
    """Of them, those with nothing new."""
    bytes: int = 0
    """Of all that was read, as UTF-8."""
    kept: int = 0
    english: int = 0
    """Bytes of the new paragraphs, and of those of English documents."""

    def __str__(self) -> str:
        return (
            f"{self.documents:,} documents of {self.bytes / 1e6:,.0f} MB were read; {self.copies:,} have nothing new. "
            f"Each paragraph once makes {self.kept / 1e6:,.0f} MB of text, {self.english / 1e6:,.0f} MB of it English."
        )


def collect(roots: Sequence[Path], english: Path, everything: Path, limits: tuple[int, int], workers: int) -> Collected:
    """Write two files of JSON lines, until both have what they are to have or nothing is left to be read.

    Args:
        roots: folders to search, in this order.
        english: gets documents that are English prose for the most part.
        everything: gets these and all others.
        limits: the bytes of text that are wanted of each.
    """
    result, seen = Collected(), set[int]()
    with english.open("wb") as prose, everything.open("wb") as every, Workers(workers) as pool:
        for _, found in pool.run(read_files, _calls(roots)):
            for text, is_english in found:
                new = _new_paragraphs(text, seen)
                result.documents += 1
                result.bytes += len(text.encode())
                result.copies += not new
                if len(new) < _MIN_DOCUMENT:
                    continue
                line = orjson.dumps({"text": new}, option=orjson.OPT_APPEND_NEWLINE)
                size = len(new.encode())
                if is_english and result.english < limits[0]:
                    prose.write(line)
                result.english += size * is_english
                if result.kept < limits[1]:
                    every.write(line)
                result.kept += size
            if result.english >= limits[0] and result.kept >= limits[1]:
                break
    return result


def _calls(roots: Sequence[Path]) -> Iterator[tuple[list[str]]]:
    """Lists of files: a package alone, others some at a time."""
    batch: list[str] = []
    for path in _walk(roots):
        if path.endswith(PACKAGES):
            yield ([path],)
        elif _kind(path):
            batch.append(path)
            if len(batch) == _FILES_A_CALL:
                yield (batch,)
                batch = []
    yield (batch,)


def _walk(roots: Sequence[Path]) -> Iterator[str]:
    """Every file once, whatever its names."""
    seen = set[tuple[int, int]]()
    for root in roots:
        for parent, folders, names in os.walk(root):
            folders.sort()
            for path in (Path(parent, name) for name in sorted(names)):
                with suppress(OSError):
                    status = path.lstat()
                    if S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        yield str(path)


def _kind(path: str) -> str | None:
    """What a file is by its name: ``manual``, ``page`` or ``text``; None for what is no text."""
    name = path.removesuffix(".gz")
    if _TRANSLATED.search(name):
        return None
    if _MANUAL.search(name):
        return "manual"
    suffix = Path(name).suffix.lower()
    if suffix in PAGES:
        return "page"
    is_document = suffix in PROSE and ("/doc/" in name or suffix or Path(name).name.isupper())
    return "text" if is_document or suffix in CODE else None


def read_files(paths: Sequence[str]) -> Found:
    """Return the documents of files and packages; what cannot be read gives none."""
    found: Found = []
    for path in paths:
        with suppress(OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, subprocess.SubprocessError):
            for name, content in _members(path):
                if text := _text(name, content):
                    found.append((text, Path(name).suffix.lower() not in CODE and _is_english(text)))
    return found


def _members(path: str) -> Iterator[tuple[str, bytes]]:
    if path.endswith((".whl", ".zip")):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if _kind(f"/{member.filename}") and member.file_size <= _MAX_DOCUMENT:
                    yield f"/{member.filename}", archive.read(member)
    elif path.endswith((".tar.gz", ".tgz")):
        with tarfile.open(path) as archive:
            yield from _of_tar(archive)
    elif path.endswith(".deb"):
        if shutil.which("dpkg-deb"):
            unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], capture_output=True, check=True).stdout
            with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
                yield from _of_tar(archive)
    else:
        yield path, Path(path).read_bytes()


def _of_tar(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        name = "/" + member.name.removeprefix("./")
        if member.isfile() and _kind(name) and member.size <= _MAX_DOCUMENT and (file := archive.extractfile(member)):
            yield name, file.read()


def _text(name: str, content: bytes) -> str | None:
    """What a file says, without markup; None for what is no text, or too short or long to be a document."""
    if name.endswith(".gz"):
        content = gzip.decompress(content)
    if len(content) > _MAX_DOCUMENT or b"\0" in content:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    kind = _kind(name)
    if kind == "page":
        text = unescape(_MARKUP.sub("", _BLOCK.sub("\n\n", text)))
    elif kind == "manual":
        text = _FONT.sub("", _MACRO.sub("", text)).replace("\\-", "-")
    return text if len(text) >= _MIN_DOCUMENT else None


def _is_english(text: str) -> bool:
    """Whether English prose makes up most of a text."""
    return 2 * sum(map(len, paragraphs(text))) > len(text)


def _new_paragraphs(text: str, seen: set[int]) -> str:
    new = []
    for paragraph in _PARAGRAPH.split(text):
        words = " ".join(paragraph.split())
        digest = int.from_bytes(hashlib.blake2b(words.encode(errors="replace"), digest_size=8).digest(), "big")
        if words and digest not in seen:
            seen.add(digest)
            new.append(paragraph)
    return "\n\n".join(new)
