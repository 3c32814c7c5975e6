"""A folder's ``manifest.json``, read as what one kind of preparation writes there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from custom_modules.errors import UserError
from custom_modules.files import readable

AGAIN = "run `danube prepare` again"

M = TypeVar("M")


def read_as(
    kind: type[M], path: Path, description: str, is_another: Callable[[Any], bool] = lambda plain: False
) -> M | None:
    """Read a manifest, held against no config.

    Args:
        kind: a dataclass with the manifest's keys, and ``path``.
        description: what it is a manifest of, for messages.
        is_another: whether what the file holds is of another kind.

    Returns:
        None where there is none, or one of another kind.

    Raises:
        UserError: one that cannot be understood; names what in it.
        UnreadableError: the system refuses to read it.
    """
    with readable(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        plain = from_json(content)
        if is_another(plain):
            return None
        return TypeAdapter(kind).validate_python({**plain, "path": path} if isinstance(plain, dict) else plain)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'content'}: {fault['msg']}" for fault in error.errors()]
        raise UserError(f"{path}: not a manifest of {description} ({'; '.join(faults)}); {AGAIN}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a manifest of {description} (content: {error}); {AGAIN}") from None
