"""``data.input=builtin``: the English that a Python installation with this project's dependencies carries.

It is the text of ``pydoc_data.topics`` and the docstrings of the standard library and of some packages: 20 MB in all,
the same for the same versions.
"""

from __future__ import annotations

import ast
import os
import platform
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

from custom_modules.files import sync
from data_prep.docstrings import Prose, paragraphs, read_docstrings
from data_prep.files import HashedWriter, explained, write_whole
from data_prep.workers import Pool

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
        "packages": {package.name: package.version for package in _packages()},
    }


def find_corpus(folder: Path, text_key: str) -> Path | None:
    """The corpus that :func:`write_corpus` has written from this very installation, if it has."""
    path = folder / f"{NAME}.jsonl"
    try:
        record = orjson.loads((folder / f"{NAME}.json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    whole = path.is_file() and record == {"origin": fingerprint(text_key), "bytes": path.stat().st_size}
    return path if whole else None


def write_corpus(folder: Path, text_key: str, workers: Pool) -> Path:
    """Write ``folder/builtin.jsonl`` and a record of what it was made from.

    Every line has the text under ``text_key`` and, as ``source``, the file and line it is from. No paragraph comes
    twice.
    """
    path, record = folder / f"{NAME}.jsonl", folder / f"{NAME}.json"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
    writer = HashedWriter(path.with_suffix(".tmp"))
    for source, text in _documents(workers):
        writer.write(orjson.dumps({text_key: text, "source": source}, option=orjson.OPT_APPEND_NEWLINE))
    written = writer.finish()
    with explained(path):
        path.with_suffix(".tmp").replace(path)
        sync(folder)
    write_whole(record, orjson.dumps({"origin": fingerprint(text_key), "bytes": written.bytes}))
    return path


def _packages() -> Iterator[metadata.Distribution]:
    for name in PACKAGES:
        try:
            yield metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue


def _documents(workers: Pool) -> Iterator[tuple[str, str]]:
    """Source and text of each document, in a fixed order."""
    seen: set[str] = set()
    for source, prose in _prose(workers):
        new = [paragraph for paragraph in dict.fromkeys(prose.paragraphs) if paragraph not in seen]
        seen.update(new)
        text = "\n\n".join(new)
        if len(text) >= _MIN_DOCUMENT:
            yield f"{source}:{prose.line}", text


def _prose(workers: Pool) -> Iterator[tuple[str, Prose]]:
    yield from _topics()
    files = [*_standard_library(), *(file for package in _packages() for file in _package_files(package))]
    calls = [files[start : start + _FILES_A_CALL] for start in range(0, len(files), _FILES_A_CALL)]
    results = dict(workers.run(read_docstrings, (([path for _, path in call],) for call in calls)))
    for index, call in enumerate(calls):
        for (source, _), found in zip(call, results[index], strict=True):
            yield from ((source, prose) for prose in found)


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
