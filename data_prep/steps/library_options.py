"""A library class's constructor as a step's options: its names, its defaults, and which values they take."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Collection, Mapping
from inspect import Parameter
from types import NoneType
from typing import Any, get_args

from custom_modules.errors import UserError


def checked_options(
    step: str, library_class: type, options: Mapping[str, Any], not_offered: Collection[str], own: Collection[str] = ()
) -> dict[str, Any]:
    """Every option of the class in its constructor's order, as plain values: those given, and defaults for the rest.

    Args:
        step: for messages: its name in ``data.steps``.
        not_offered: parameters of the constructor that are no options.
        own: names of options that the step has beside the class's, for the message about an unknown one.

    Raises:
        UserError: an option that the class does not have, or a value of another kind than its default.
    """
    signature = inspect.signature(library_class)
    parameters = {name: value for name, value in signature.parameters.items() if name not in not_offered}
    for key, value in options.items():
        if key not in parameters:
            raise UserError(f"data.steps.{step}.{key}={value}: no such option; {_nearest(key, [*own, *parameters])}")
        kind = _other_kind(value, parameters[key])
        if kind:
            raise UserError(f"data.steps.{step}.{key}={value}: must be {kind}")
    return {name: _plain(options.get(name, parameter.default)) for name, parameter in parameters.items()}


def as_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a constructor takes them: with tuples where plain values have lists."""
    return {name: _as_tuples(value) for name, value in options.items()}


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return f"did you mean {close[0]}?" if close else f"use {', '.join(known)}"


def _other_kind(value: Any, parameter: Parameter) -> str | None:
    """What the value should be, if it is something else."""
    default = parameter.default
    nullable = default is None or NoneType in get_args(parameter.annotation)
    if value is None and nullable:
        return None
    if isinstance(default, bool):
        kind, fits = "true or false", isinstance(value, bool)
    elif isinstance(default, int | float):
        kind, fits = "a number", _is_number(value)
    elif isinstance(default, tuple):
        kind, fits = "a list of [number of words, fraction]", _is_list(value) and all(map(_is_n_gram, value))
    elif isinstance(default, str):
        choices = get_args(parameter.annotation)
        kind, fits = " or ".join(choices), value in choices
    else:
        kind, fits = "a list of words", _is_list(value) and all(isinstance(word, str) for word in value)
    return None if fits else kind + (" or null" if nullable else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_n_gram(value: Any) -> bool:
    if not _is_list(value) or len(value) != 2:
        return False
    words, fraction = value
    return isinstance(words, int) and not isinstance(words, bool) and words > 0 and _is_number(fraction)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if _is_list(value) else value


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value
