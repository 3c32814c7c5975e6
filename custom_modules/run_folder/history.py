"""A run's ``metrics.jsonl`` as curves and stages."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from custom_modules.errors import UserError
from custom_modules.run_folder.metrics import METRICS

_COMMON = ("step", "tokens", "stage", "seq_length", "loss")
_REQUIRED = {"train": (*_COMMON, "learning_rate", "tokens_per_second"), "validation": _COMMON}


@dataclass(frozen=True)
class Point:
    """One record. Losses are nats per token."""

    step: int
    tokens: int
    stage: str
    seq_length: int
    loss: float
    learning_rate: float | None
    """None for a validation."""
    tokens_per_second: float | None
    """None for a validation."""


@dataclass(frozen=True)
class StageHistory:
    """What a run has done of one stage."""

    name: str
    seq_length: int
    start_tokens: int
    end_tokens: int
    """Of the last record so far."""
    train: tuple[Point, ...]
    validation: tuple[Point, ...]

    @property
    def tokens_per_second(self) -> float | None:
        """The median, which checkpoints and validations do not slow down."""
        speeds = [point.tokens_per_second for point in self.train if point.tokens_per_second]
        return median(speeds) if speeds else None


@dataclass(frozen=True)
class History:
    """A run so far, in order of tokens."""

    train: tuple[Point, ...]
    validation: tuple[Point, ...]
    stages: tuple[StageHistory, ...]

    @property
    def end_tokens(self) -> int:
        return self.stages[-1].end_tokens


def read_history(run_dir: Path) -> History:
    """Read a run's metrics. The last line may be incomplete: the run may be writing it.

    Raises:
        UserError: no metrics, or a line that is not one of ours.
    """
    path = run_dir / METRICS
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read the run's metrics ({error.strerror}); give a run's folder") from None
    train: list[Point] = []
    validation: list[Point] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            kind = record["kind"]
            point = _point(record) if kind in _REQUIRED else None
        except (ValueError, LookupError, TypeError) as error:
            if number == len(lines):
                break
            raise UserError(f"{path}:{number}: not a metrics record ({error!r}); remove that line") from None
        if point:
            (train if kind == "train" else validation).append(point)
    if not train:
        raise UserError(f"{path}: no training steps in it yet; wait for trainer.log_every_n_tokens to pass")
    train.sort(key=_tokens)
    validation.sort(key=_tokens)
    return History(tuple(train), tuple(validation), tuple(_stages(train, validation)))


def _point(record: dict[str, Any]) -> Point:
    missing = [key for key in _REQUIRED[record["kind"]] if key not in record]
    if missing:
        raise LookupError(f"no {missing[0]}")
    loss = _number(record, "loss")
    return Point(
        step=int(record["step"]),
        tokens=int(record["tokens"]),
        stage=str(record["stage"]),
        seq_length=int(record["seq_length"]),
        loss=math.nan if loss is None else loss,
        learning_rate=_number(record, "learning_rate"),
        tokens_per_second=_number(record, "tokens_per_second"),
    )


def _number(record: dict[str, Any], key: str) -> float | None:
    value = record.get(key)
    return None if value is None else float(value)


def _tokens(point: Point) -> int:
    return point.tokens


def _stages(train: list[Point], validation: list[Point]) -> Iterator[StageHistory]:
    start = 0
    for name in dict.fromkeys(point.stage for point in sorted([*train, *validation], key=_tokens)):
        trained = tuple(point for point in train if point.stage == name)
        validated = tuple(point for point in validation if point.stage == name)
        points = [*trained, *validated]
        end = max(point.tokens for point in points)
        yield StageHistory(name, points[0].seq_length, start, end, trained, validated)
        start = end
