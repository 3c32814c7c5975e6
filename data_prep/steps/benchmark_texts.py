"""Benchmark files, and the prompts and reference answers in them: what decontamination looks for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from custom_modules.text import spelled
from data_prep.input.content import BOM, HEAD_BYTES, what_else
from data_prep.input.documents import Damage
from data_prep.input.formats import format_of
from data_prep.input.input_files import InputFile, find_input_files
from data_prep.input.json_file import why_no_lines
from data_prep.input.json_values import LONE_SURROGATE, NotJsonError, parse_json
from data_prep.input.lines import LineReader, LongLine
from data_prep.input.units import Segment
from data_prep.input.walk import PassedOver
from data_prep.steps.benchmark_sets import digests, is_manifest, manifest_of, read_texts
from data_prep.work.damaged_files import passed_over_lines
from data_prep.work.progress import say

_KEY = "data.steps.decontaminate.files"
_SUFFIXES = ".jsonl or .txt"
_AS_FOUND = "data.sources.benchmark="
"""How messages about input files name these."""
_ADDRESS = re.compile(r"\w+://\S+")
_HARNESS_NAME = re.compile(r"samples_(.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?")
_BLANK_LINES = re.compile(rb"\n[^\S\n]*(?=\n)")


@dataclass(frozen=True, slots=True)
class BenchmarkFile:
    """One benchmark: a file's path, the name its items go by, and the SHA-256 of its content.

    A fetched data set's path is that of the manifest which names its files.
    """

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
    """The files as given, and those of a folder, in the order of their paths: JSON lines or plain text.

    A folder that `danube evaluate --fetch` laid down is the data sets in it, by the names of their tasks, each document
    of their evaluated splits an item; MMLU's subjects are one benchmark. Other files are found as input files are, with
    the same suffixes but ``.parquet``. A benchmark is called what its file is called: ``gsm8k`` for ``gsm8k.jsonl``,
    and for the harness's ``samples_gsm8k_2024-05-01T10-00-00.000000.jsonl``. The folder goes before it where two files
    share a name.

    Raises:
        UserError: a path that does not exist or cannot be read, no such file at all, or two benchmarks of one name.
    """
    manifests = {path: manifest for path in map(Path, paths) if (manifest := manifest_of(path))}
    files = _files([path for path in paths if Path(path) not in manifests])
    sets = [
        BenchmarkFile(name, str(manifest), digest)
        for manifest in manifests.values()
        for name, digest in digests(manifest).items()
    ]
    taken = Counter([*(file.name for file in sets), *map(_name, files)])
    names = [
        _name(file) if taken[_name(file)] == 1 else f"{file.absolute().parent.name}/{_name(file)}" for file in files
    ]
    found = [*sets, *(BenchmarkFile(name, str(file), _sha256(file)) for name, file in zip(names, files, strict=True))]
    if not found:
        raise UserError(f"{_KEY}={', '.join(map(str, paths)) or '[]'}: no {_SUFFIXES} file; name one")
    for index, file in enumerate(found):
        if other := next((each for each in found[:index] if each.name == file.name), None):
            raise UserError(
                f"{_KEY}: {spelled(other.path)} and {spelled(file.path)} are both called {file.name}; "
                "leave one out or rename it"
            )
    return tuple(found)


def read_benchmark(file: BenchmarkFile) -> Iterator[Record]:
    """Every item of a benchmark.

    A line of JSON is an item, and all strings in it, however deep, are its texts, but for web addresses. A line of
    lm-evaluation-harness's ``--log_samples`` is one too: its ``doc`` and ``target`` are the texts and the strings of
    its ``arguments`` the prompts; what the model answered is not read. In a ``.txt`` file an item is a paragraph.

    Raises:
        UserError: a line that is not JSON, a file that is not UTF-8 or cannot be read whole, or another content than
            when it was hashed.
    """
    path = Path(file.path)
    if is_manifest(path):
        return _of_set(file)
    if _sha256(path, "put the file back") != file.sha256:
        raise UserError(f"{spelled(path)}: changed since the command began; run the same command again")
    kind = format_of(path)
    return _paragraphs(path) if kind and kind.layout == "text" else _json_lines(path)


def _of_set(file: BenchmarkFile) -> Iterator[Record]:
    manifest = Path(file.path)
    if digests(manifest).get(file.name) != file.sha256:
        raise UserError(f"{spelled(manifest)}: {file.name} changed since the command began; run the same command again")
    for number, texts in enumerate(read_texts(manifest, file.name), 1):
        yield Record(number, tuple(texts))


def _files(paths: Sequence[str | Path]) -> list[Path]:
    given = [Path(path) for path in paths]
    for path in given:
        if path.is_file() and (reason := _why_none(path)):
            raise UserError(f"{_KEY}={spelled(path)}: {reason}")
    if not given:
        return []
    try:
        listing = find_input_files({"benchmark": given}, None, text_key=None)
    except UserError as error:
        raise UserError(str(error).replace(_AS_FOUND, f"{_KEY}=")) from None
    if listing.unreadable:
        raise UserError(f"{_KEY}: {listing.unreadable[0]}; put that right, or leave the file out")
    files = [Path(file.path) for file in listing.files]
    others = [PassedOver.by_suffix(path, path.stat().st_size) for path in files if not _is_read(path)]
    for line in passed_over_lines([*listing.passed_over, *others], f"{_KEY}: passed over, for it is no benchmark:"):
        say(line)
    return [path for path in files if _is_read(path)]


def _is_read(path: Path) -> bool:
    kind = format_of(path)
    return kind is not None and kind.layout != "parquet"


def _why_none(path: Path) -> str | None:
    """Say why a file that is given by name is no benchmark."""
    kind = format_of(path)
    if kind is None or not _is_read(path):
        return f"unknown format; use {_SUFFIXES}"
    other = why_no_lines(Segment.whole(InputFile.of(path)), None) if kind.may_be_one_value else None
    if other is None:
        return None
    remedy = f"; {other.remedy}" if other.remedy else ""
    return f"unknown format; use {_SUFFIXES}, for it is {other.what}{remedy}"


def _name(path: Path) -> str:
    kind = format_of(path)
    stem = spelled(path.name)[: -len(kind.suffix)] if kind else path.stem
    harness = _HARNESS_NAME.fullmatch(stem)
    return harness[1] if harness else stem


def _sha256(path: Path, remedy: str = "make it readable") -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise UserError(f"{_KEY}={spelled(path)}: {error.strerror}; {remedy}") from error


def _json_lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(LineReader(Segment.whole(InputFile.of(path))), 1):
        if isinstance(line, Damage):
            if line.is_lost:
                raise UserError(f"{spelled(path)}: {line.reason}; give a whole file")
        elif isinstance(line, LongLine):
            raise UserError(f"{spelled(path)}:{number}: {line.reason}; take it out")
        elif line.strip():
            try:
                yield _record(parse_json(line), number)
            except NotJsonError as error:
                reason = str(error).removeprefix("invalid JSON (").removesuffix(")")
                raise UserError(
                    f"{spelled(path)}:{number}: invalid JSON ({reason}); correct or remove the line"
                ) from None


def _record(value: Any, number: int) -> Record:
    if isinstance(value, dict) and isinstance(value.get("doc"), dict) and ("arguments" in value or "resps" in value):
        own = (*_strings(value["doc"]), *_strings(value.get("target")))
        return Record(number, tuple(dict.fromkeys(own)), tuple(dict.fromkeys(_prompts(value.get("arguments")))))
    return Record(number, tuple(dict.fromkeys(_strings(value))))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not _ADDRESS.fullmatch(value):
            yield LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
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


def _paragraphs(path: Path) -> Iterator[Record]:
    kind, content = format_of(path), path.read_bytes()
    if kind and (wrong := what_else(content[:HEAD_BYTES], kind)):
        raise UserError(f"{spelled(path)}: it is {wrong}; give a whole file")
    content = content.removeprefix(BOM)
    start, line = 0, 1
    for stop in [*(match.end() for match in _BLANK_LINES.finditer(content)), len(content)]:
        block = content[start:stop]
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            line += block.count(b"\n", 0, error.start)
            raise UserError(f"{spelled(path)}:{line}: invalid UTF-8; convert the file to UTF-8") from None
        if text.strip():
            yield Record(line + text[: len(text) - len(text.lstrip())].count("\n"), (text,))
        line += block.count(b"\n")
        start = stop
