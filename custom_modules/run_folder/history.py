"""A run's ``metrics.jsonl`` as curves and stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from custom_modules.errors import UserError
from custom_modules.run_folder.abandoned import abandoned_metrics
from custom_modules.run_folder.metrics import (
    METRICS,
    EvaluationMetrics,
    Metrics,
    Record,
    TrainMetrics,
    ValidationMetrics,
    read_metrics,
)
from custom_modules.run_folder.rollbacks import Rollback, read_rollbacks


@dataclass(frozen=True)
class StageHistory:
    """What a run has done of one stage."""

    name: str
    seq_length: int
    start_tokens: int
    end_tokens: int
    """The tokens of the last record so far."""
    train: tuple[TrainMetrics, ...]
    validation: tuple[ValidationMetrics, ...]

    @property
    def tokens_per_second(self) -> float | None:
        """The median, which checkpoints and validations do not slow down."""
        speeds = [point.tokens_per_second for point in self.train if point.tokens_per_second]
        return median(speeds) if speeds else None


@dataclass(frozen=True)
class AbandonedStretch:
    """What a run had trained and went back from."""

    rollback: Rollback
    train: tuple[TrainMetrics, ...]
    validation: tuple[ValidationMetrics, ...]


@dataclass(frozen=True)
class History:
    """A run so far, in order of tokens."""

    train: tuple[TrainMetrics, ...]
    validation: tuple[ValidationMetrics, ...]
    stages: tuple[StageHistory, ...]
    abandoned: tuple[AbandonedStretch, ...] = ()
    evaluations: tuple[EvaluationMetrics, ...] = ()
    """The scorings of ``trainer.evaluate``'s tasks; none where it has none."""

    @property
    def end_tokens(self) -> int:
        return self.stages[-1].end_tokens


def read_history(run_dir: Path) -> History:
    """Read a run's metrics. The last line may be incomplete: the run may be writing it.

    Raises:
        UserError: no metrics, or a line that is not one of ours.
    """
    records = sorted(read_metrics(run_dir), key=_tokens)
    train, validation = _by_kind(records)
    if not train:
        path = run_dir / METRICS
        raise UserError(f"{path}: no training steps in it yet; wait for trainer.log_every_n_tokens to pass")
    evaluations = tuple(record for record in records if isinstance(record, EvaluationMetrics))
    return History(train, validation, tuple(_stages(train, validation)), tuple(_abandoned(run_dir)), evaluations)


def _abandoned(run_dir: Path) -> Iterator[AbandonedStretch]:
    for number, rollback in enumerate(read_rollbacks(run_dir)):
        yield AbandonedStretch(rollback, *_by_kind(abandoned_metrics(run_dir, number)))


def _by_kind(records: Sequence[Record]) -> tuple[tuple[TrainMetrics, ...], tuple[ValidationMetrics, ...]]:
    train = tuple(record for record in records if isinstance(record, TrainMetrics))
    return train, tuple(record for record in records if isinstance(record, ValidationMetrics))


def _tokens(record: Record) -> int:
    return record.tokens


def _stages(train: Sequence[TrainMetrics], validation: Sequence[ValidationMetrics]) -> Iterator[StageHistory]:
    records: list[Metrics] = [*train, *validation]
    start = 0
    for name in dict.fromkeys(point.stage for point in sorted(records, key=_tokens)):
        trained = tuple(point for point in train if point.stage == name)
        validated = tuple(point for point in validation if point.stage == name)
        points: list[Metrics] = [*trained, *validated]
        end = max(point.tokens for point in points)
        yield StageHistory(name, points[0].seq_length, start, end, trained, validated)
        start = end
