"""Own items as tasks of a run, which take no library to build."""

from __future__ import annotations

import json
import random
from pathlib import Path


def write_items(path: Path, count: int, seed: int = 0) -> Path:
    """Write made-up questions, whose contexts and choices have many lengths; of every third one token differs."""
    source = random.Random(seed)

    def words(most: int) -> str:
        return " ".join("".join(source.choices("abcdefghijklmnop", k=5)) for _ in range(source.randint(1, most)))

    items = []
    for number in range(count):
        choices = ["a", "b", "c", "d"] if number % 3 == 0 else [f"{words(3)} {n}" for n in range(source.randint(2, 4))]
        items.append({"context": words(9), "choices": choices, "answer": source.randrange(len(choices))})
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def evaluate_on(*files: Path, every: int = 2048, limit: int | None = None) -> str:
    """Return the override of a run that is scored on such files."""
    names = ", ".join(map(str, files))
    return f"trainer.evaluate={{tasks: [{names}], every_n_tokens: {every}, limit: {limit or 'null'}, data: none}}"
