"""Suites: the reports' own, and what is refused of a user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from custom_modules.errors import UserError
from custom_modules.tasks.suite import load_suite, suite_names

OWN = """title: Mine
tasks:
  - {task: winogrande, num_fewshot: 3, metric: acc}
  - {task: capitals, metric: acc_norm, file: items/capitals.jsonl}
averages: [{name: Both, tasks: [winogrande, capitals]}]
"""


def test_the_reports_suites() -> None:
    """Tasks, examples and metrics of Danube's Tables 1 and 2, and LokiLM's Table 1."""
    assert suite_names() == ("danube-table1", "lokilm-table1", "open-llm-leaderboard")
    suites = {name: load_suite(name) for name in suite_names()}
    assert {suite.protocol for suite in suites.values()} == {"paper"}
    read = {
        name: {entry.task: (entry.num_fewshot, entry.metric) for entry in suite.entries}
        for name, suite in suites.items()
    }
    assert read["danube-table1"] == {
        **dict.fromkeys(("arc_easy", "arc_challenge", "hellaswag", "openbookqa", "piqa"), (0, "acc_norm")),
        **dict.fromkeys(("boolq", "winogrande"), (0, "acc")),
        "triviaqa": (5, "exact_match"),
    }
    assert read["open-llm-leaderboard"] == {
        "arc_challenge": (25, "acc_norm"),
        "hellaswag": (10, "acc_norm"),
        "mmlu": (5, "acc"),
        "truthfulqa_mc2": (0, "mc2"),
        "winogrande": (5, "acc"),
        "gsm8k": (5, "exact_match"),
    }
    assert read["lokilm-table1"] == {
        "arc_challenge": (10, "acc_norm"),
        "hellaswag": (5, "acc_norm"),
        "mmlu": (5, "acc"),
        "winogrande": (5, "acc"),
        "gsm8k": (8, "exact_match"),
        "truthfulqa_mc2": (0, "mc2"),
    }
    with_without = {len(average.tasks) for average in suites["open-llm-leaderboard"].averages}
    assert with_without == {6, 5} and "gsm8k" not in suites["open-llm-leaderboard"].averages[1].tasks
    reported = {entry.task: entry.reported_num_fewshot for entry in suites["lokilm-table1"].entries}
    assert {task: shots for task, shots in reported.items() if shots is not None} == {"truthfulqa_mc2": 10}


def test_a_users_own_suite(tmp_path: Path) -> None:
    """Its items' file lies beside it, wherever it is read from."""
    (tmp_path / "mine.yaml").write_text(OWN)
    suite = load_suite(tmp_path / "mine.yaml")
    assert (suite.name, suite.title, suite.protocol) == ("mine", "Mine", "paper")
    assert [entry.file for entry in suite.entries] == [None, tmp_path / "items" / "capitals.jsonl"]
    assert suite.averages[0].tasks == ("winogrande", "capitals")


def test_own_items_are_a_suite(tmp_path: Path) -> None:
    suite = load_suite(tmp_path / "capitals.jsonl")
    assert (suite.name, [entry.task for entry in suite.entries]) == ("capitals", ["capitals"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("title: Mine\n", r"mine\.yaml: tasks: Field required"),
        ("- 1\n", r"mine\.yaml: .* put that right"),
        ("title: [\n", r"mine\.yaml: not YAML"),
        (OWN.replace("acc_norm", "f1"), r"tasks\.1\.metric: Input should be 'acc', 'acc_norm', 'mc2' or 'exact_match'"),
        (OWN.replace("num_fewshot: 3", "shots: 3"), r"tasks\.0\.shots: Extra inputs are not permitted"),
        (OWN.replace("num_fewshot: 3", "num_fewshot: -3"), r"tasks\.0\.num_fewshot: .* greater than or equal to 0"),
        (OWN.replace("file:", "num_fewshot: 2, file:"), r"own items have their examples in their contexts"),
        (OWN.replace("metric: acc_norm", "metric: mc2"), r"of own items acc or acc_norm"),
        (
            OWN.replace("capitals]", "towns]"),
            r"averages: towns is no task of the suite; there are: winogrande, capitals",
        ),
        (OWN.replace("task: capitals", "task: winogrande"), r"winogrande is there twice"),
        (OWN + "protocol: new\n", r"protocol: Input should be 'paper' or 'current'"),
    ],
)
def test_a_suite_of_another_form_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        load_suite(tmp_path / "mine.yaml")


def test_a_suite_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--suite danube-table2: no such suite; give one of danube-table1, lokilm-table1"
    ):
        load_suite("danube-table2")
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        load_suite(tmp_path / "none.yaml")
