"""A run's ``metrics.jsonl`` as curves and stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from custom_modules.errors import UserError
from custom_modules.run_folder.metrics import METRICS, Metrics, TrainMetrics, ValidationMetrics, read_metrics


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
class History:
    """A run so far, in order of tokens."""

    train: tuple[TrainMetrics, ...]
    validation: tuple[ValidationMetrics, ...]
    stages: tuple[StageHistory, ...]

    @property
    def end_tokens(self) -> int:
        return self.stages[-1].end_tokens


def read_history(run_dir: Path) -> History:
    """Read a run's metrics. The last line may be incomplete: the run may be writing it.

    Raises:
        UserError: no metrics, or a line that is not one of ours.
    """
    records = sorted(read_metrics(run_dir), key=_tokens)
    train = [record for record in records if isinstance(record, TrainMetrics)]
    validation = [record for record in records if isinstance(record, ValidationMetrics)]
    if not train:
        path = run_dir / METRICS
        raise UserError(f"{path}: no training steps in it yet; wait for trainer.log_every_n_tokens to pass")
    return History(tuple(train), tuple(validation), tuple(_stages(records, train, validation)))


def _tokens(record: Metrics) -> int:
    return record.tokens


def _stages(
    records: Sequence[Metrics], train: Sequence[TrainMetrics], validation: Sequence[ValidationMetrics]
) -> Iterator[StageHistory]:
    start = 0
    for name in dict.fromkeys(point.stage for point in records):
        trained = tuple(point for point in train if point.stage == name)
        validated = tuple(point for point in validation if point.stage == name)
        points: list[Metrics] = [*trained, *validated]
        end = max(point.tokens for point in points)
        yield StageHistory(name, points[0].seq_length, start, end, trained, validated)
        start = end
