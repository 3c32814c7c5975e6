"""Linux without what macOS lacks: Python imports this before a program where this folder is in ``PYTHONPATH``.

Names of the standard library that typeshed knows for Linux and not for macOS are taken away, but for those that
libraries need, which ask for the system by its name. Files of Linux and ``prctl`` are not there for the
modules of this project.
"""

from __future__ import annotations

import ast
import errno
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
OURS = tuple(str(ROOT / folder) for folder in ("custom_modules", "data_prep"))
LIBRARY = str(Path(os.__file__).parent)
MODULES = ("errno", "fcntl", "mmap", "os", "resource", "select", "signal", "socket", "time")
ABSENT = ("/proc/", "/dev/shm", "/etc/machine-id")
NEEDED = {"AF_PACKET", "RUSAGE_THREAD"}


class System:
    """What stubs ask ``sys`` for."""

    def __init__(self, platform: str) -> None:
        self.platform = platform
        self.version_info = sys.version_info


def only_on_linux(module: str) -> set[str]:
    """Return the names that a module of the standard library has on Linux and not on macOS, by mypy's typeshed."""
    found = importlib.util.find_spec("mypy")
    assert found is not None and found.origin is not None
    folder = Path(found.origin).parent / "typeshed" / "stdlib"
    single = folder / f"{module}.pyi"
    stub = ast.parse((single if single.exists() else folder / module / "__init__.pyi").read_text())
    return set(names(stub.body, System("linux"))) - set(names(stub.body, System("darwin")))


def names(body: Sequence[ast.stmt], system: System) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.If):
            holds = eval(compile(ast.Expression(node.test), "stub", "eval"), {"sys": system})
            yield from names(node.body if holds else node.orelse, system)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def take_away() -> None:
    for module in MODULES:
        there = vars(importlib.import_module(module))
        for name in only_on_linux(module) - NEEDED:
            there.pop(name, None)


def refuse(event: str, arguments: Any) -> None:
    if event in ("open", "os.listdir", "os.scandir"):
        path = str(arguments[0])
        if path.startswith(ABSENT) and asked_by_us():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    elif event == "ctypes.dlsym" and arguments[1] == "prctl":
        raise AttributeError("prctl")


def asked_by_us() -> bool:
    """Whether a module of ours is behind a call, through the standard library's alone."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if not file.startswith("<") and (not file.startswith(LIBRARY) or "site-packages" in file):
            return file.startswith(OURS)
        frame = frame.f_back
    return False


if __name__ == "sitecustomize":
    take_away()
    sys.addaudithook(refuse)
