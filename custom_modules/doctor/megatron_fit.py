"""What the program asks of megatron-core, against the version that is installed. Imports it."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import NonCallableMock

from custom_modules.doctor.megatron_uses import Call, Use


def misfits(found: dict[str, Use]) -> Iterator[str]:
    """Give a line for each name, call and member that is not there, with our modules that ask for it."""
    for name, use in found.items():
        by = ", ".join(sorted(use.modules))
        try:
            thing = look_up(name)
        except (ImportError, AttributeError):
            yield f"{name} is not there ({by})"
            continue
        # What megatron-core derives from Transformer Engine's classes, where that is not installed.
        if isinstance(thing, NonCallableMock):
            continue
        problems = {call: _refusal(thing, call) for call in use.calls}
        choice = {call: _refusal(thing, call) for call in use.calls_by_version}
        if choice and all(choice.values()):
            problems |= choice
        yield from (f"{name}{call}: {problem} ({by})" for call, problem in problems.items() if problem)
        for member in sorted(use.members):
            if not has_member(thing, member):
                yield f"{name} has no {member} ({by})"


def look_up(name: str) -> Any:
    """Return what a whole name names: a module, or something in one.

    Raises:
        ImportError, AttributeError: it is not there.
    """
    module, rest = module_and_name(name)
    return functools.reduce(getattr, rest.split(".") if rest else [], importlib.import_module(module))


def module_and_name(name: str) -> tuple[str, str]:
    """Divide a whole name into the module, of two that have it the one above, and the rest."""
    module, *parts = name.split(".")
    importlib.import_module(module)
    while parts:
        there = getattr(sys.modules[module], parts[0], None)
        if there is not None and not inspect.ismodule(there):
            break
        try:
            importlib.import_module(f"{module}.{parts[0]}")
        except ModuleNotFoundError:
            break
        module = f"{module}.{parts.pop(0)}"
    return module, ".".join(parts)


def has_member(thing: Any, member: str) -> bool:
    """Whether instances of a class have it: defined, annotated, or set by one of its methods."""
    if hasattr(thing, member):
        return True
    for cls in inspect.getmro(thing):
        if cls.__module__ == "builtins":
            continue
        if member in vars(cls).get("__annotations__", {}) or re.search(
            rf"\bself\.{member}\b(:[^=\n]+)?\s*=[^=]|\bself\.{member},", inspect.getsource(cls)
        ):
            return True
    return False


def _refusal(thing: Any, call: Call) -> str | None:
    """Why something cannot be called so; None if it can."""
    signature = inspect.signature(thing)
    bind = signature.bind_partial if call.and_more else signature.bind
    try:
        bind(*[None] * call.positional, **dict.fromkeys(call.keywords))
    except TypeError as error:
        return str(error)
    return None
