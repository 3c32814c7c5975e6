"""A task's figures from its items': against plain arithmetic."""

from __future__ import annotations

import statistics

import pytest

from custom_modules.tasks.items import Grade
from custom_modules.tasks.summary import summarise_grades


def grades(*values: float, bits: float | None = 8.0) -> list[Grade]:
    return [Grade({"acc": value, "acc_norm": 1 - value}, value == 0, bits, 2 if bits else None) for value in values]


def test_a_single_task_is_the_mean_of_its_items() -> None:
    values = (1.0, 0.0, 0.0, 1.0, 1.0)
    for protocol in ("paper", "current"):
        found = summarise_grades({"arc_easy": grades(*values)}, "acc", protocol)
        assert found.value == pytest.approx(0.6) and found.metrics == pytest.approx({"acc": 0.6, "acc_norm": 0.4})
        assert found.standard_error == pytest.approx(statistics.stdev(values) / 5**0.5)
        assert (found.items, found.ties, found.bits_per_byte, found.leaves) == (5, 2, 4.0, {})


def test_a_group_is_the_plain_mean_of_its_leaves_or_weighted_by_size() -> None:
    leaves = {"mmlu_anatomy": grades(1, 1), "mmlu_law": grades(0, 0, 0, 1, 0, 0, 0, 1)}
    paper, current = (summarise_grades(leaves, "acc", protocol) for protocol in ("paper", "current"))
    assert paper.value == pytest.approx((1 + 0.25) / 2) and current.value == pytest.approx(4 / 10)
    assert paper.leaves == current.leaves == {"mmlu_anatomy": 1.0, "mmlu_law": 0.25}
    error = statistics.stdev([0, 0, 0, 1, 0, 0, 0, 1]) / 8**0.5
    assert paper.standard_error == pytest.approx(error / 2)
    assert current.standard_error == pytest.approx(error * 8 / 10)


def test_one_item_has_the_largest_error_that_there_can_be() -> None:
    found = summarise_grades({"gsm8k": grades(1.0, bits=None)}, "acc", "paper")
    assert (found.standard_error, found.bits_per_byte) == (0.5, None)
