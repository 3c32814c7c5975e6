"""Checking what a step is told: names, types and ranges of its options, before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from custom_modules.data_steps.kinds import in_words, is_list
from custom_modules.data_steps.step import DataStep
from custom_modules.errors import UserError
from custom_modules.text import as_yaml

_SHOWN = 200


def read_options(step: DataStep, given: Mapping[str, Any]) -> Any:
    """Check a step's options.

    Args:
        given: plain values by name.

    Returns:
        An instance of ``step.takes``: those given, and defaults for the rest.

    Raises:
        UserError: an unknown or missing option, a value of another type or out of its range, a ``min_`` above its
            ``max_``; one line, with the key in full.
    """
    check_names(step, given)
    key = f"data.steps.{step.name}"
    kinds = {option.name: option.kind for option in step.options}
    checked = {name: _checked(f"{key}.{name}", value, kinds[name]) for name, value in given.items()}
    for field in fields(step.takes):
        if field.default is MISSING and field.name not in checked:
            raise UserError(f"{key}.{field.name}: not set; the step needs it")
    options = step.takes(**checked)
    _check_limits(key, options)
    return options


def check_names(step: DataStep, given: Mapping[str, Any]) -> None:
    """Refuse an option that a step does not have.

    Raises:
        UserError: as `read_options`.
    """
    for name, value in given.items():
        if name not in step.option_names:
            raise UserError(f"data.steps.{step.name}.{name}={as_yaml(value)}: {_unknown(name, step)}")


def _check_limits(key: str, options: Any) -> None:
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    for name, least in values.items():
        highest = name.replace("min_", "max_", 1)
        most = values.get(highest) if name.startswith("min_") else None
        if least is not None and most is not None and least > most:
            raise UserError(
                f"{key}.{name}={as_yaml(least)}: more than {highest}={as_yaml(most)}, so that no document could pass; "
                f"lower it, or raise {key}.{highest}"
            )


@contextmanager
def keys_in_full(step: str, takes: type) -> Iterator[None]:
    """Put a step's key before an error that begins with one of its options.

    Args:
        takes: the class of its options.
    """
    try:
        yield
    except UserError as error:
        is_option = str(error).partition("=")[0] in {field.name for field in fields(takes)}
        raise UserError(f"data.steps.{step}.{error}" if is_option else str(error)) from None


def _unknown(name: str, step: DataStep) -> str:
    known = step.option_names
    if not known:
        return f"it has no options; set data.steps.{step.name}={{}}"
    close = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"no such option; did you mean {close[0]}?" if close else f"no such option; use {', '.join(known)}"


def _checked(key: str, value: Any, kind: Any) -> Any:
    plain = _plain(value)
    try:
        _adapter(kind).validate_python(plain, strict=True)
    except ValidationError:
        wanted = in_words(kind).replace(" | ", " or ")
        advice = f"; put it in brackets: [{value}]" if is_list(kind) and value and isinstance(value, str) else ""
        said = " ".join(as_yaml(value).split())[:_SHOWN]
        raise UserError(f"{key}={said}: must be {wanted}{advice}") from None
    return plain


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    """Write lists as tuples, and whole numbers such as 1e5 without a fraction."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value
