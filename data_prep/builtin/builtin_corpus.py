"""``data.input=builtin``: the English that a Python installation with this project's dependencies carries.

It is the text of ``pydoc_data.topics`` and the docstrings of the standard library (together ``builtin/python``) and of
some packages (``builtin/numpy``, say): 20 MB in all, the same for the same versions.
"""

from __future__ import annotations

import ast
import os
import platform
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file, whole_stream
from custom_modules.made import claim, read_note, write_note
from data_prep.builtin.docstrings import Prose, paragraphs, read_docstrings
from data_prep.work.workers import Pool

NAME = "builtin"

PACKAGES = (
    "fonttools",
    "fsspec",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "megatron-core",
    "mpmath",
    "networkx",
    "numpy",
    "pillow",
    "pydantic",
    "pyparsing",
    "sympy",
    "tensorboard",
    "torch",
    "transformers",
    "werkzeug",
)
"""Dependencies, direct or not, that are rich in prose; no others, so that a tool installed beside changes nothing."""

PYTHON = "python"

_RULES = 1
"""Raised whenever the same installation would give another text."""
_NOT_READ = frozenset(("test", "tests", "testing", "idle_test", "_vendor", "site-packages", "dist-packages"))
_MIN_DOCUMENT = 200
_FILES_A_CALL = 64


def fingerprint(text_key: str) -> dict[str, Any]:
    """What the corpus follows from."""
    return {
        "rules": _RULES,
        "text_key": text_key,
        "python": platform.python_version(),
        "packages": {name: package.version for name, package in _packages().items()},
    }


def is_builtin(item: str) -> bool:
    """Whether an item of ``data.input`` means this corpus or a piece of it, rather than a file."""
    return item == NAME or item.startswith(f"{NAME}/")


def find_corpus(folder: Path, text_key: str) -> dict[str, Path] | None:
    """The pieces that :func:`write_corpus` has written from this very installation, if it has."""
    try:
        record = orjson.loads((folder / f"{NAME}.json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    pieces = _pieces(folder)
    whole = all(path.is_file() for path in pieces.values()) and record == _record(text_key, pieces)
    return pieces if whole else None


def check_place(folder: Path) -> None:
    """Take the places that :func:`write_corpus` writes to.

    Raises:
        UserError: they hold something else.
    """
    record = folder / f"{NAME}.json"
    if record not in made_in(folder):
        if record.exists():
            raise UserError(f"{record}: not made by `danube prepare`, which would write there; move it away")
        claim(folder / NAME, "danube prepare")


def made_in(folder: Path) -> list[Path]:
    """Return the files of a folder that :func:`write_corpus` wrote, all of them or as far as it came."""
    record = folder / f"{NAME}.json"
    pieces = [folder / NAME / name for name in read_note(folder / NAME) or ()]
    try:
        plain = orjson.loads(record.read_bytes())
        return [*pieces, *(folder / NAME / f"{name}.jsonl" for name in plain["bytes"]), record]
    except (OSError, ValueError, TypeError, KeyError):
        return pieces


def files_of(item: str, pieces: Mapping[str, Path]) -> list[Path]:
    """The files that an item of ``data.input`` means.

    Args:
        item: ``builtin``, or ``builtin/`` with the name of a piece.
        pieces: as `find_corpus` gives them.

    Raises:
        UserError: there is no such piece.
    """
    if item == NAME:
        return list(pieces.values())
    name = item.removeprefix(f"{NAME}/")
    if name not in pieces:
        raise UserError(f"{item}: no such piece of this Python installation; there are: {', '.join(pieces)}")
    return [pieces[name]]


def write_corpus(folder: Path, text_key: str, workers: Pool) -> dict[str, Path]:
    """Write ``folder/builtin/*.jsonl``, a piece for Python and one for each package, and a record of what it is from.

    Every line has the text under ``text_key`` and, as ``source``, the file and line it is from. No paragraph comes
    twice.

    Returns:
        The pieces by name, in their order.
    """
    record, pieces = folder / f"{NAME}.json", _pieces(folder)
    with explained(folder):
        (folder / NAME).mkdir(parents=True, exist_ok=True)
        write_note(folder / NAME, {path.name: None for path in pieces.values()})
        record.unlink(missing_ok=True)
    with ExitStack() as stack:
        streams = {name: stack.enter_context(whole_stream(path)) for name, path in pieces.items()}
        for name, source, text in _documents(workers):
            line = orjson.dumps({text_key: text, "source": source}, option=orjson.OPT_APPEND_NEWLINE)
            with explained(pieces[name]):
                streams[name].write(line)
    whole_file(record, orjson.dumps(_record(text_key, pieces)))
    return pieces


def _pieces(folder: Path) -> dict[str, Path]:
    return {name: folder / NAME / f"{name}.jsonl" for name in (PYTHON, *_packages())}


def _record(text_key: str, pieces: Mapping[str, Path]) -> dict[str, Any]:
    return {"origin": fingerprint(text_key), "bytes": {name: path.stat().st_size for name, path in pieces.items()}}


def _packages() -> dict[str, metadata.Distribution]:
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.distribution(name)
    return found


def _documents(workers: Pool) -> Iterator[tuple[str, str, str]]:
    """Yield piece, source and text of each document, in a fixed order."""
    seen: set[str] = set()
    for piece, source, prose in _prose(workers):
        new = [paragraph for paragraph in dict.fromkeys(prose.paragraphs) if paragraph not in seen]
        seen.update(new)
        text = "\n\n".join(new)
        if len(text) >= _MIN_DOCUMENT:
            yield piece, f"{source}:{prose.line}", text


def _prose(workers: Pool) -> Iterator[tuple[str, str, Prose]]:
    yield from ((PYTHON, *found) for found in _topics())
    files = [(PYTHON, *file) for file in _standard_library()]
    files += [(name, *file) for name, package in _packages().items() for file in _package_files(package)]
    calls = [files[start : start + _FILES_A_CALL] for start in range(0, len(files), _FILES_A_CALL)]
    results = dict(workers.run(read_docstrings, (([path for _, _, path in call],) for call in calls)))
    for index, call in enumerate(calls):
        for (piece, source, _), found in zip(call, results[index], strict=True):
            yield from ((piece, source, prose) for prose in found)


def _topics() -> Iterator[tuple[str, Prose]]:
    path = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    if not path.is_file():
        return
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign):
            for text in ast.literal_eval(node.value).values():
                yield "pydoc_data/topics.py", Prose(node.lineno, paragraphs(text))


def _standard_library() -> Iterator[tuple[str, Path]]:
    root = Path(sysconfig.get_path("stdlib"))
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - _NOT_READ)
        for path in (Path(parent) / name for name in sorted(names) if name.endswith(".py")):
            yield path.relative_to(root).as_posix(), path


def _package_files(package: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for file in sorted(package.files or ()):
        if file.suffix == ".py" and _NOT_READ.isdisjoint(file.parts) and (path := Path(str(file.locate()))).is_file():
            yield file.as_posix(), path
