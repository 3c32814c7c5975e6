"""Files of a model's folder that are cut short, found without loading the model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from custom_modules.errors import UserError

_ZIP = b"PK\x03\x04"
"""How torch's files begin, since 1.6."""


def check_whole(folder: Path, key: str) -> None:
    """Look at the ends of weights, and into JSON files.

    Args:
        folder: of transformers or sentence-transformers.
        key: what the folder was given as, for the message.

    Raises:
        UserError: a file is cut short or damaged.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            fault = _fault(path)
        except OSError as error:
            fault = error.strerror or str(error)
        if fault:
            name = path.relative_to(folder)
            raise UserError(f"{key}={folder}: {name} is cut short or damaged ({fault}); copy it again")


def _fault(path: Path) -> str | None:
    if path.suffix == ".safetensors":
        return _of_safetensors(path)
    if path.suffix == ".json":
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            return str(error)
    if path.suffix in (".bin", ".pt", ".pth"):
        with path.open("rb") as file:
            is_torch = file.read(len(_ZIP)) == _ZIP
        return "its end is missing" if is_torch and not zipfile.is_zipfile(path) else None
    return None


def _of_safetensors(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):
            return None
    except SafetensorError as error:
        return str(error).rpartition(": ")[2]
