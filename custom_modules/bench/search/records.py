"""What a search has measured so far: a file of JSON lines, each whole and on the disk before the next trial begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from custom_modules.bench.row import KILLED, OUT_OF_MEMORY
from custom_modules.bench.search.machine import Machine
from custom_modules.bench.search.strategy import Failure
from custom_modules.bench.search.trials import Pass, Trial
from custom_modules.bench.timing import Timing
from custom_modules.errors import UserError
from custom_modules.json_lines import JsonLines
from custom_modules.text import as_yaml

FILE = "search.jsonl"


@dataclass(frozen=True)
class Question:
    """What is searched for, and where: records of another question are none of this one."""

    machine: Machine
    config: Mapping[str, Any]
    """Every key of the config, dotted, with its value in JSON."""
    held: tuple[str, ...]
    """Keys that are not tried."""
    stages: tuple[str, ...]
    random_tokens: bool

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Question:
        """Read what `dataclasses.asdict` made of one."""
        named = {name: tuple(plain[name]) for name in ("held", "stages")}
        return cls(**{**plain, **named, "machine": Machine.read(plain["machine"])})


@dataclass(frozen=True)
class Measured:
    """What became of a trial."""

    trial: Trial
    timing: Timing | None
    problem: str | None
    """Why there is no timing."""
    advice: str | None
    """What has it fit by the plan, where memory ran out."""
    spent: float
    """Seconds that the search had taken by then, in all its starts."""

    @property
    def outcome(self) -> float | Failure:
        """Tokens/s over all devices, or what kept it from being measured: by the fastest step, since other work on a
        machine only makes one slower."""
        if self.timing:
            return self.timing.fastest
        return Failure.NO_ROOM if self.problem in (OUT_OF_MEMORY, KILLED) else Failure.OTHER

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for a file."""
        trial = self.trial
        what = {
            "setting": dict(trial.setting),
            "stage": trial.stage,
            **trial.size._asdict(),
            "repeat": trial.repeat,
        }
        return {**what, **{name: value for name, value in asdict(self).items() if name != "trial"}}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Measured:
        """Read what `as_dict` made."""
        size = Pass(plain["micro_batch_size"], plain["granularity"])
        timing = plain["timing"]
        return cls(
            trial=Trial(tuple(plain["setting"].items()), plain["stage"], size, plain["repeat"]),
            timing=Timing.read(timing) if timing else None,
            problem=plain["problem"],
            advice=plain["advice"],
            spent=plain["spent"],
        )


class Records:
    """The records of one search.

    Args:
        folder: has `FILE`, or will.

    Raises:
        UserError: the file cannot be read, or is of something else.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        lines = JsonLines(self.path).records
        try:
            self.question = Question.read(lines[0]) if lines else None
            self.measured = [Measured.read(line) for line in lines[1:]]
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise UserError(f"{self.path}: not the records of a search ({error!r}); give --output another") from None

    @property
    def spent(self) -> float:
        return self.measured[-1].spent if self.measured else 0.0

    def begin(self, question: Question) -> None:
        """Take the question that the records are of, or find that they are of the same.

        Raises:
            UserError: another machine or config began; or the disk refuses.
        """
        if self.question is None:
            self._append(asdict(question))
            self.question = question
            return
        if others := list(question.machine.differences(self.question.machine)):
            raise UserError(
                f"{self.path}: begun on another machine: {', '.join(others[:3])}; what it measured says nothing of "
                "this one: give --output another folder, or remove it"
            )
        if other := _difference(self.question, question):
            raise UserError(f"{self.path}: begun for another run: {other}; give that again, or --output another folder")

    def add(self, measured: Measured) -> None:
        """Put a measurement on the disk.

        Raises:
            UserError: the disk refuses.
        """
        self._append(measured.as_dict())
        self.measured.append(measured)

    def _append(self, record: dict[str, Any]) -> None:
        lines = JsonLines(self.path)
        lines.append(record)
        lines.close()


def _difference(theirs: Question, ours: Question) -> str | None:
    """Return what of a question is not as in another, as ``key=there (here VALUE)``; None if nothing is."""
    for name in ("stages", "held", "random_tokens"):
        if getattr(theirs, name) != getattr(ours, name):
            there, here = as_yaml(getattr(theirs, name)), as_yaml(getattr(ours, name))
            return f"{_NAMES[name]} {there} (here {here})"
    for key in sorted(theirs.config.keys() | ours.config.keys()):
        if theirs.config.get(key) != ours.config.get(key):
            return f"{key}={as_yaml(theirs.config.get(key))} (here {as_yaml(ours.config.get(key))})"
    return None


_NAMES = {"stages": "--stages", "held": "keys on the command line", "random_tokens": "--random-tokens"}
