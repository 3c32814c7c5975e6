"""Questions with good and bad answers, the same for everyone: what Python's own functions do, and sums."""

from __future__ import annotations

import ast
import random
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.builtin.docstrings import paragraphs

_LONGEST = 160
_SHORTEST = 30
_NOT_READ = ("test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "ensurepip", "turtledemo")
_LARGEST_FILE = 400_000


@dataclass(frozen=True)
class Question:
    """A question and three answers, the best first."""

    text: str
    best: str
    middling: str
    worst: str

    @property
    def answers(self) -> tuple[str, str, str]:
        return self.best, self.middling, self.worst


def about_functions() -> list[Question]:
    """Ask what each documented function of the standard library does: once each, in the order of their names."""
    told = dict(_described())
    return [
        Question(
            text=f"What does {name} do?",
            best=text,
            middling=f"{text.partition(' ')[0]} something in {name.partition('.')[0]}.",
            worst=f"I do not know {name}, sorry.",
        )
        for name, text in sorted(told.items())
    ]


def _described() -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if any(part.startswith("_") or part in _NOT_READ for part in parts) or path.stat().st_size > _LARGEST_FILE:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                module = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        yield from _of(module, ".".join(parts))


def _of(node: ast.Module | ast.ClassDef, above: str) -> Iterator[tuple[str, str]]:
    for inner in node.body:
        if not isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or inner.name.startswith("_"):
            continue
        name = f"{above}.{inner.name}"
        first = " ".join(next(iter(paragraphs(ast.get_docstring(inner) or "")), "").split())
        if _SHORTEST <= len(first) <= _LONGEST:
            yield name, first
        if isinstance(inner, ast.ClassDef):
            yield from _of(inner, name)


def sums(count: int, seed: int) -> list[Question]:
    """Ask for so many different sums."""
    source = random.Random(seed)
    found: dict[str, Question] = {}
    while len(found) < count:
        numbers = [source.randint(2, 99) for _ in range(source.choice((2, 2, 3)))]
        shown, total = " plus ".join(map(str, numbers)), sum(numbers)
        text = f"What is {shown}?"
        right = f"{' + '.join(map(str, numbers))} = {total}. The answer is: {total}"
        near = total + source.choice((-10, -1, 1, 10))
        wrong = f"{' + '.join(map(str, numbers))} = {near}. The answer is: {near}"
        found.setdefault(text, Question(text, right, wrong, "I cannot add that up, sorry."))
    return list(found.values())
