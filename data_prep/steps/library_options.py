"""A library class's constructor as a step's options: its names and its defaults."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any


def with_defaults(library_class: type, options: Mapping[str, Any], not_offered: Collection[str]) -> dict[str, Any]:
    """Every option of the class in its constructor's order, as plain values: those given, and defaults for the rest.

    Args:
        not_offered: parameters of the constructor that are no options.
    """
    parameters = inspect.signature(library_class).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items() if name not in not_offered}
    return {name: _plain(value) for name, value in {**defaults, **options}.items()}


def as_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a constructor takes them: with tuples where plain values have lists."""
    return {name: _as_tuples(value) for name, value in options.items()}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value
