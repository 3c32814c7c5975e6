"""What a run's distilled steps were trained on, for its page."""

from __future__ import annotations

from collections.abc import Sequence

from custom_modules.run_folder.history import History
from custom_modules.run_folder.metrics import TrainMetrics


def distilled_rows(history: History) -> list[tuple[str, ...]]:
    """Return a table, its header first: by stage the objective, and each target's share of wins; empty where no step
    was distilled.

    Each log line of the stage that has distilled steps counts once.
    """
    stages = {stage.name: [point for point in stage.train if point.objective is not None] for stage in history.stages}
    points = [point for found in stages.values() for point in found]
    targets = list(dict.fromkeys(name for point in points for name in point.wins or {}))
    if not points:
        return []
    header = ("stage", "first objective", "last objective", "loss beside it", *(f"wins of {name}" for name in targets))
    return [header, *(_row(name, found, targets) for name, found in stages.items() if found)]


def _row(name: str, points: Sequence[TrainMetrics], targets: Sequence[str]) -> tuple[str, ...]:
    shares = (sum((point.wins or {}).get(target, 0.0) for point in points) / len(points) for target in targets)
    last = points[-1]
    return (
        name,
        f"{points[0].objective:.4f}",
        f"{last.objective:.4f}",
        f"{last.loss:.4f}",
        *(f"{share:.1%}" for share in shares),
    )
