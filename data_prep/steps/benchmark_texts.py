"""Benchmark files, and the prompts and reference answers in them: what decontamination looks for."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from custom_modules.errors import UserError
from custom_modules.files import sha256_of

SUFFIXES = (".jsonl", ".txt")
_KEY = "data.steps.decontaminate.files"
_BOM = b"\xef\xbb\xbf"
_ADDRESS = re.compile(r"\w+://\S+")
_HARNESS_NAME = re.compile(r"samples_(.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?")
_BLANK_LINES = re.compile(rb"\n[^\S\n]*(?=\n)")


@dataclass(frozen=True, slots=True)
class BenchmarkFile:
    """One benchmark: a file's path, the name its items go by, and the SHA-256 of its content."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """One item as it stands in a file."""

    number: int
    """The line, from 1, that it is or begins at."""
    texts: tuple[str, ...]
    """What is the item's own: question, choices, reference answers."""
    prompts: tuple[str, ...] = ()
    """What an evaluation harness made of it: examples of other items may be in there."""


def find_benchmarks(paths: Sequence[str | Path]) -> tuple[BenchmarkFile, ...]:
    """The files as given, and those of a folder, in the order of their paths, with ``.jsonl`` or ``.txt`` at the end.

    A benchmark is called what its file is called: ``gsm8k`` for ``gsm8k.jsonl``, and for the harness's
    ``samples_gsm8k_2024-05-01T10-00-00.000000.jsonl``. The folder goes before it where two files share a name.

    Raises:
        UserError: a path that does not exist or cannot be read, no such file at all, or two benchmarks of one name.
    """
    files = list(dict.fromkeys(file for path in paths for file in _files_of(Path(path))))
    if not files:
        raise UserError(f"{_KEY}={', '.join(map(str, paths)) or '[]'}: no {' or '.join(SUFFIXES)} file; name one")
    taken = Counter(map(_name, files))
    names = [
        _name(file) if taken[_name(file)] == 1 else f"{file.absolute().parent.name}/{_name(file)}" for file in files
    ]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise UserError(
                f"{_KEY}: {files[names.index(name)]} and {files[index]} are both called {name}; "
                "leave one out or rename it"
            )
    return tuple(BenchmarkFile(name, str(file), _sha256(file)) for name, file in zip(names, files, strict=True))


def read_benchmark(file: BenchmarkFile) -> Iterator[Record]:
    """Every item of a benchmark.

    A line of JSON is an item, and all strings in it, however deep, are its texts, but for web addresses. A line of
    lm-evaluation-harness's ``--log_samples`` is one too: its ``doc`` and ``target`` are the texts and the strings of
    its ``arguments`` the prompts; what the model answered is not read. In a ``.txt`` file an item is a paragraph.

    Raises:
        UserError: a line that is not JSON, a file that is not UTF-8, or another content than when it was hashed.
    """
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise UserError(f"{_KEY}={file.path}: {error.strerror}; put the file back") from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise UserError(f"{file.path}: changed since the command began; run the same command again")
    content = content.removeprefix(_BOM)
    return _paragraphs(content, file.path) if file.path.lower().endswith(".txt") else _json_lines(content, file.path)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not path.exists():
        raise UserError(f"{_KEY}={path}: no such file or folder")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{_KEY}={path}: unknown format; use {' or '.join(SUFFIXES)}")
    return [path]


def _name(path: Path) -> str:
    harness = _HARNESS_NAME.fullmatch(path.stem)
    return harness[1] if harness else path.stem


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise UserError(f"{_KEY}={path}: {error.strerror}; make it readable") from error


def _json_lines(content: bytes, path: str) -> Iterator[Record]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UserError(f"{path}:{number}: invalid JSON ({error.msg}); correct or remove the line") from None
            yield _record(value, number)


def _record(value: Any, number: int) -> Record:
    if isinstance(value, dict) and isinstance(value.get("doc"), dict) and ("arguments" in value or "resps" in value):
        own = (*_strings(value["doc"]), *_strings(value.get("target")))
        return Record(number, tuple(dict.fromkeys(own)), tuple(dict.fromkeys(_prompts(value.get("arguments")))))
    return Record(number, tuple(dict.fromkeys(_strings(value))))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not _ADDRESS.fullmatch(value):
            yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _prompts(arguments: Any) -> Iterator[str]:
    """Strings of each request's arguments; a dict among them holds generation options and no text."""
    for request in _values(arguments):
        for argument in _values(request):
            if not isinstance(argument, dict):
                yield from _strings(argument)


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _paragraphs(content: bytes, path: str) -> Iterator[Record]:
    start, line = 0, 1
    for stop in [*(match.end() for match in _BLANK_LINES.finditer(content)), len(content)]:
        block = content[start:stop]
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            line += block.count(b"\n", 0, error.start)
            raise UserError(f"{path}:{line}: invalid UTF-8; convert the file to UTF-8") from None
        if text.strip():
            yield Record(line + text[: len(text) - len(text.lstrip())].count("\n"), (text,))
        line += block.count(b"\n")
        start = stop
