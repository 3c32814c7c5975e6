"""What of an environment is done: a step is written down once it has come to its end, with all that it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from custom_modules.files import whole_file
from tests.null_gpu.environments import Environment

RECORD = "made.json"


@dataclass(frozen=True)
class Step:
    """A part of an environment."""

    name: str
    after: tuple[str, ...]
    """Steps that have to be made before, and that it is made anew after."""
    inputs: Callable[[Environment], str]
    """What it is made of."""
    make: Callable[[Environment], None]
    """Makes it, whatever is left of an attempt before; raises `CannotBeMadeError`."""


def unfinished(environment: Environment, steps: Sequence[Step]) -> list[Step]:
    """Return the steps that were never finished, or were with other inputs, in their order."""
    recorded, wanted = _read(environment), _fingerprints(environment, steps)
    return [step for step in steps if recorded.get(step.name) != wanted[step.name]]


def make(environment: Environment, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Make what is not finished.

    Raises:
        CannotBeMadeError: what was finished before stays so.
    """
    for step in unfinished(environment, steps):
        say(f"{environment.name}: {step.name}")
        step.make(environment)
        done = {**_read(environment), step.name: _fingerprints(environment, steps)[step.name]}
        environment.folder.mkdir(parents=True, exist_ok=True)
        whole_file(_path(environment), json.dumps(done, indent=1).encode())


def _read(environment: Environment) -> dict[str, str]:
    """No record, or one that is damaged, says that nothing is done."""
    with suppress(OSError, ValueError):
        found = json.loads(_path(environment).read_text())
        if isinstance(found, dict):
            return found
    return {}


def _path(environment: Environment) -> Path:
    return environment.folder / RECORD


def _fingerprints(environment: Environment, steps: Sequence[Step]) -> dict[str, str]:
    found: dict[str, str] = {}
    for step in steps:
        parts = [step.name, step.inputs(environment), *(found[name] for name in step.after)]
        found[step.name] = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return found
