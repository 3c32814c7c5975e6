"""What a run says of its distilled steps since the last log line. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from custom_modules.objective.logged import Distilled


@dataclass
class DistilledSums:
    """Weighted sums over steps, kept in checkpoints so that a resumed run logs the same means."""

    weight: float = 0.0
    objective: float = 0.0
    wins: dict[str, float] = field(default_factory=dict)

    def add(self, step: Distilled | None, weight: float) -> None:
        """Add a step, unless it was plain."""
        if step is None:
            return
        self.weight += weight
        self.objective += weight * step.objective
        for name, share in step.wins.items():
            self.wins[name] = self.wins.get(name, 0.0) + weight * share

    def take(self) -> Distilled | None:
        """Return the means, and begin anew; None: no step was distilled."""
        weight, objective, wins = self.weight, self.objective, self.wins
        self.weight, self.objective, self.wins = 0.0, 0.0, {}
        if not weight:
            return None
        return Distilled(objective / weight, {name: share / weight for name, share in wins.items()})

    @classmethod
    def read(cls, plain: Mapping[str, object] | None) -> DistilledSums:
        """Return what ``dataclasses.asdict`` made plain values of."""
        return cls(**plain) if plain else cls()  # type: ignore[arg-type]
