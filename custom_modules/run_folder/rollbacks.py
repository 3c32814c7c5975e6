"""``rollbacks.jsonl``: how often a run went back from a spike, from where and to where. Needs no torch.

The list and a checkpoint's copy of it say in what order a stage is read, whatever the config says by then. It is
written before anything else is done, so that what a killed run had left to do is done at its next start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file

ROLLBACKS = "rollbacks.jsonl"


@dataclass(frozen=True)
class Rollback:
    """One return to a checkpoint."""

    from_tokens: int
    """The checkpoint's: from there on the stage is read in another order."""
    spike_tokens: int
    """Where the spike was found, at the end of a step."""
    first_high_tokens: int
    """Where its first high step began."""
    stage: str
    """The stage of the spike."""
    seed: int
    """Of the other order."""
    attempt: int
    """Which it is since there was a checkpoint later than the spike, from 1."""
    reason: str
    """Which number was high, and above what."""

    def describe(self) -> str:
        """Word it in a line."""
        return f"from {self.spike_tokens:,} back to {self.from_tokens:,} tokens ({self.stage}: {self.reason})"

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Rollback:
        """Return what ``dataclasses.asdict`` made plain values of.

        Raises:
            ValueError: it is none.
        """
        kinds = {field.name: str if field.type == "str" else int for field in fields(cls)}
        if not isinstance(plain, dict) or plain.keys() != kinds.keys():
            raise ValueError(f"needs {', '.join(kinds)}")
        for name, kind in kinds.items():
            if type(plain[name]) is not kind or (kind is int and plain[name] < 0):
                raise ValueError(f"{name}: {plain[name]!r}")
        return cls(**plain)


def read_rollbacks(run_dir: Path) -> list[Rollback]:
    """Return a run's rollbacks, the oldest first; none where there is no file.

    Raises:
        UserError: a line is none.
    """
    path = run_dir / ROLLBACKS
    if not path.is_file():
        return []
    with explained(path):
        lines = path.read_bytes().splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Rollback.read(json.loads(line)))
        except ValueError as error:
            raise UserError(
                f"{path}:{number}: not a rollback ({error}); put the file back from a copy, or remove it: the newest "
                "checkpoint has its own copy of the list, and goes on with that"
            ) from None
    return found


def count_rollbacks(run_dir: Path) -> int:
    """Return how often a run went back; 0 where its list cannot be read, which the run itself refuses."""
    with suppress(UserError):
        return len(read_rollbacks(run_dir))
    return 0


def write_rollbacks(run_dir: Path, rollbacks: Sequence[Rollback]) -> None:
    """Publish the list.

    Raises:
        UserError: it cannot be written; what was there before stands.
    """
    whole_file(run_dir / ROLLBACKS, b"".join(json.dumps(asdict(one)).encode() + b"\n" for one in rollbacks))


def chain(rollbacks: Sequence[Rollback]) -> list[Rollback]:
    """Return the last rollbacks that no checkpoint later than their spike was written between."""
    begin = max((place for place, one in enumerate(rollbacks) if one.attempt == 1), default=len(rollbacks))
    return list(rollbacks[begin:])
