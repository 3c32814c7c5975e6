"""What a step over the whole corpus says of the disk before it fills it."""

from __future__ import annotations

from pathlib import Path

from custom_modules.text import decimal_bytes
from data_prep.work.progress import count, say


def say_room(step: str, documents: int, bytes_a_document: float, folder: Path) -> None:
    """Say how much a step writes on the way, at most.

    Args:
        folder: where.
    """
    size = decimal_bytes(round(documents * bytes_a_document))
    say(f"{step}: compares {count(documents, 'document')}; up to {size} on disk meanwhile, in {folder}")
