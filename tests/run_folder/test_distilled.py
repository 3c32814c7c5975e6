"""A run that is resumed between two log lines says the same of its distilled steps."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from custom_modules.objective.logged import Distilled
from custom_modules.run_folder.progress import Progress

STEPS = [
    (Distilled(3.0, {"ground_truth": 0.5, "oak": 0.5}), 1.0),
    (None, 1.0),
    (Distilled(1.0, {"ground_truth": 0.0, "oak": 1.0}), 3.0),
]
"""What a step has found, and its weight."""


def test_means_over_a_resume() -> None:
    progress = Progress()
    for step, weight in STEPS:
        progress.distilled.add(step, weight)
        progress = Progress.read(json.loads(json.dumps(asdict(progress))))
    found = progress.distilled.take()
    assert found is not None
    assert found.objective == pytest.approx((3.0 + 3 * 1.0) / 4)
    assert found.wins == pytest.approx({"ground_truth": 0.5 / 4, "oak": (0.5 + 3) / 4})
    assert str(found) == "objective 1.5000 (ground_truth 12%, oak 88%)"
    assert progress.distilled.take() is None, "it begins anew"


def test_nothing_is_said_of_plain_steps() -> None:
    progress = Progress.read({})
    progress.distilled.add(None, 1.0)
    assert progress.distilled.take() is None
