"""Where the parts of a GPU day run, and what they leave to one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from custom_modules.data.layout import MANIFEST
from tests.gpu_day.commands import Commands, Done
from tests.gpu_day.facts import Facts
from tests.support.gpu import Machine
from tests.support.runs import read_metrics

ENGINE = "fp8"
PLAIN = "bf16"
"""Names of the two runs that are compared."""


@dataclass(frozen=True)
class Found:
    """What a part found: for people, and for programs."""

    text: str
    figures: dict[str, Any] = field(default_factory=dict)


class Failed(Exception):
    """A part went wrong, or its figures are not what they have to be."""

    def __init__(self, text: str, figures: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.figures = figures or {}


class Skipped(Exception):
    """A part cannot be tried here."""


@dataclass(frozen=True)
class Day:
    """A day, in its folder."""

    size: str
    machine: Machine
    facts: Facts
    folder: Path
    commands: Commands

    @property
    def data(self) -> Path:
        return self.folder / "work" / "data"

    def run_dir(self, name: str) -> Path:
        return self.folder / "work" / "runs" / name

    def danube(self, part: str, *words: str, codes: tuple[int, ...] = (0,), stop_at: str | None = None) -> Done:
        """Run the command to a good end. Raises Failed for another."""
        return self.program([*self.machine.program, *words], part, codes, stop_at)

    def program(self, command: list[str], part: str, codes: tuple[int, ...] = (0,), stop_at: str | None = None) -> Done:
        """Run a program to a good end; its log has the part's name. Raises Failed for another end."""
        log = self.folder / "log" / f"{part}.log"
        done = self.commands.run(command, log, stop_at)
        if done.code not in codes:
            last = (done.log.strip().splitlines() or ["it said nothing"])[-1]
            raise Failed(f"exit code {done.code}: {last} (all in {log})")
        return done

    def train(self, name: str, log: str, *words: str, **expected: Any) -> Done:
        """Train a run of the comparison, or go on with it."""
        if not (self.data / MANIFEST).is_file():
            raise Skipped("needs the data, which is not prepared")
        runs = self.run_dir(name).parent
        folders = [f"data.dir={self.data}", f"exp_manager.exp_dir={runs}", f"exp_manager.name={name}"]
        config = ["--config-name", "danube_rehearsal", *self.machine.comparison, self.machine.here]
        return self.danube(log, "pretrain", *config, *folders, *words, **expected)

    def losses(self, name: str) -> list[float] | None:
        """Return a run's loss of every step; None where it has not come to its end."""
        run = self.run_dir(name)
        found = [line["loss"] for line in read_metrics(run)] if (run / "metrics.jsonl").is_file() else []
        return found if len(found) == self.machine.steps else None

    def need(self, *names: str) -> tuple[str, list[float]]:
        """Return the first of some runs that has come to its end, with its losses. Raises Skipped for none."""
        for name in names:
            if losses := self.losses(name):
                return name, losses
        raise Skipped(f"needs the run {' or '.join(names)}, which has not come to its end")

    def need_engine(self) -> None:
        """Raise Skipped where Transformer Engine cannot be used."""
        if self.facts.transformer_engine is None:
            raise Skipped(f"no Transformer Engine: {self.facts.transformer_engine_problem}")
