"""English prose out of Python source files, which are parsed and never imported."""

from __future__ import annotations

import ast
import gc
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_MIN_PARAGRAPH = 20
_MIN_LETTERS = 0.75
_MIN_FUNCTION_WORDS = 0.1
_FUNCTION_WORD = re.compile(
    r"\b(?:a|an|and|are|as|at|be|by|can|for|from|if|in|is|it|may|must|not|of|on|or|returns?|should|than|that|the|then|this"
    r"|to|used?|we|when|which|will|with|you)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z']+")
_LETTERS = re.compile(r"[A-Za-z ]+")

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Prose:
    """The paragraphs that belong together, and the line of the source that they begin near."""

    line: int
    paragraphs: list[str]


def read_docstrings(paths: Sequence[Path]) -> list[list[Prose]]:
    """The prose of each file: one text for the module's docstring, one for each function, one for each class with all
    that is defined inside it. Files that do not parse have none."""
    # Syntax trees are without cycles, but so many objects that collecting takes twice the time of parsing.
    gc.disable()
    try:
        return [list(_of_file(path)) for path in paths]
    finally:
        gc.enable()


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text that are English prose, rather than code, tables or numbers."""
    # An escape such as \ud800 makes a string that is no Unicode text.
    encodable = text.encode(errors="replace").decode()
    return [paragraph for paragraph in re.split(r"\n\s*\n", encodable.strip()) if _is_prose(paragraph)]


def _of_file(path: Path) -> Iterator[Prose]:
    try:
        with warnings.catch_warnings(action="ignore"):
            module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return
    groups: list[list[Definition]] = [[module], *(list(_with_inner(definition)) for definition in _definitions(module))]
    for group in groups:
        found = [paragraph for node in group for paragraph in paragraphs(ast.get_docstring(node) or "")]
        if found:
            yield Prose(getattr(group[0], "lineno", 1), found)


def _definitions(node: Definition) -> Iterator[Definition]:
    return (inner for inner in node.body if isinstance(inner, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)))


def _with_inner(node: Definition) -> Iterator[Definition]:
    yield node
    for inner in _definitions(node):
        yield from _with_inner(inner)


def _is_prose(paragraph: str) -> bool:
    text = " ".join(paragraph.split())
    return (
        len(text) >= _MIN_PARAGRAPH
        and sum(map(len, _LETTERS.findall(text))) >= _MIN_LETTERS * len(text)
        and len(_FUNCTION_WORD.findall(text)) >= _MIN_FUNCTION_WORDS * len(_WORD.findall(text))
    )
