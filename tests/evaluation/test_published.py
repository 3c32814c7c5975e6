"""The reports' tables against themselves: their averages, their repetitions, and what their text says of them."""

from __future__ import annotations

import pytest

from custom_modules.evaluation.published import PublishedTable, Row, published, repetition, tables_of
from custom_modules.tasks.suite import load_suite

TABLES = {table.name: table for table in published()}


def row(table: str, model: str) -> Row:
    return next(one for one in TABLES[table].rows if one.model == model)


def test_every_table_of_a_benchmark_is_there_with_all_its_rows() -> None:
    assert {name: len(table.rows) for name, table in TABLES.items()} == {
        "danube-1": 11,
        "danube-2": 11,
        "danube-4": 4,
        "danube-5": 4,
        "danube-6": 6,
        "lokilm-1": 7,
    }
    for table in TABLES.values():
        assert table.where.startswith("section ") and f"Table {table.name[-1]}" in table.where
        assert all(0 < value < 100 for one in table.rows for value in one.values.values())


@pytest.mark.parametrize("name", ["danube-table1", "open-llm-leaderboard", "lokilm-table1"])
def test_columns_and_averages_are_the_suites(name: str) -> None:
    suite = load_suite(name)
    entries = [(entry.task, entry.num_fewshot, entry.metric) for entry in suite.entries]
    averages = {average.name: [*average.tasks] for average in suite.averages}
    for table in (*tables_of(name, chat=False), *tables_of(name, chat=True)):
        assert [(one.task, one.num_fewshot, one.metric) for one in table.columns.values()] == entries
        for heading in table.averages:
            assert [table.columns[column].task for column in table.averaged(heading)] == averages[heading]


def test_chat_models_have_tables_of_their_own_where_a_report_has() -> None:
    names = {
        (suite, chat): [table.name for table in tables_of(suite, chat)]
        for suite in ("danube-table1", "open-llm-leaderboard", "lokilm-table1", "mine")
        for chat in (False, True)
    }
    assert names == {
        ("danube-table1", False): ["danube-1"],
        ("danube-table1", True): ["danube-4"],
        ("open-llm-leaderboard", False): ["danube-2", "danube-6"],
        ("open-llm-leaderboard", True): ["danube-5"],
        ("lokilm-table1", False): ["lokilm-1"],
        ("lokilm-table1", True): ["lokilm-1"],
        ("mine", False): [],
        ("mine", True): [],
    }


def test_averages_are_their_rows_but_for_those_that_are_listed() -> None:
    """The reports' own: six averages in five rows that no rounding explains."""
    found = {
        (name, one.model, one.average): (one.printed, round(one.of_row - one.printed, 3))
        for name, table in TABLES.items()
        for one in table.misprints()
    }
    assert found == {
        ("danube-5", "Qwen-1.8B-Chat", "Average"): (42.94, 0.007),
        ("lokilm-1", "Qwen1.5", "Average"): (45.56, 0.995),
        ("lokilm-1", "Stable LM 2", "Average"): (45.23, 0.023),
        ("lokilm-1", "MPT", "Average"): (30.75, -0.008),
        ("lokilm-1", "LokiLM", "Average"): (49.50, -0.017),
        ("lokilm-1", "LokiLM", "Non-TruthfulQA Avg."): (53.01, -0.010),
    }


def columns_by_task(table: PublishedTable, one: Row) -> dict[str, float]:
    return {column.task: one.values[heading] for heading, column in table.columns.items()}


def test_lokilms_table_has_danubes_table_6_to_the_digit_at_other_shots() -> None:
    loki, danube = TABLES["lokilm-1"], TABLES["danube-6"]
    same = {"Danube 2": "H2O-Danube2", "Qwen1.5": "Qwen1.5", "Stable LM 2": "Stable LM 2", "Phi-1.5": "Phi-1.5"}
    for name, other in same.items():
        assert columns_by_task(loki, row("lokilm-1", name)) == columns_by_task(danube, row("danube-6", other))
    assert columns_by_task(loki, row("lokilm-1", "Gemma")) != columns_by_task(danube, row("danube-6", "Gemma-2B"))
    shots = [{column.task: column.num_fewshot for column in table.columns.values()} for table in (loki, danube)]
    assert {task for task in shots[0] if shots[0][task] != shots[1][task]} == {"arc_challenge", "hellaswag", "gsm8k"}


def test_the_same_weights_twice() -> None:
    found = repetition("open-llm-leaderboard")
    assert found is not None
    assert found.model == "H2O-Danube" and [table.name for table in found.tables] == ["danube-2", "danube-6"]
    assert {heading: round(one, 2) for heading, one in found.differences.items()} == {
        "ARC 25-shot": 0.26,
        "HS 10-shot": 0.17,
        "MMLU 5-shot": 0.03,
        "TQA 0-shot": 0.23,
        "Wino 5-shot": 0.31,
        "GSM 5-shot": 0.61,
        "Average": 0.09,
    }
    assert repetition("danube-table1") is None and repetition("mine") is None


def test_what_the_text_says_of_the_tables() -> None:
    """Section 5: better than Qwen on all of Table 1 but BoolQ. Section 6.3: Table 4. Section 7: best of Table 6."""
    own, qwen = row("danube-1", "H2O-Danube").values, row("danube-1", "Qwen*").values
    assert [heading for heading in own if own[heading] <= qwen[heading]] == ["Bool acc"]
    chat, tiny = row("danube-4", "H2O-Danube-1.8B-Chat").values, row("danube-4", "TinyLlama-1.1B-Chat").values
    assert all(chat[heading] > tiny[heading] for heading in chat)
    assert max(TABLES["danube-6"].rows, key=lambda one: one.averages["Average"]).model == "H2O-Danube2"
    assert max(TABLES["lokilm-1"].rows, key=lambda one: one.averages["Average"]).model == "LokiLM"
    assert min(TABLES["lokilm-1"].rows, key=lambda one: one.values["TruthfulQA (10-Shot)"]).model == "LokiLM"
