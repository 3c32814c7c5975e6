"""``table.md``: the reports' rows as printed, this model's last, errors, differences, and what is said below."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import pytest

from custom_modules.evaluation.bars import draw_bars
from custom_modules.evaluation.figures import own_errors
from custom_modules.evaluation.published import tables_of
from custom_modules.evaluation.results import Results, read_results
from custom_modules.evaluation.table import printed_tables, render_table, table_as_plain
from custom_modules.tasks.data_folder import MADE_UP
from tests.support.evaluations import (
    LEADERBOARD,
    LOKILM,
    ZERO_SHOT,
    Asked,
    make_evaluation,
    suite_results,
)


def of_suite(suite: str, entries: dict[str, tuple[int, str]], **more: object) -> Results:
    """Every task at 50.12% with an error of 1.25%."""
    values, errors = dict.fromkeys(entries, 0.5012), dict.fromkeys(entries, 0.0125)
    return suite_results(entries, values, errors, **{"suite": suite, **more})


def rows_of(markdown: str, heading: str) -> list[list[str]]:
    """Cells of the table below a heading, the line under the header left out."""
    part = markdown.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def test_the_reports_table_with_this_model_as_its_last_row() -> None:
    text = render_table(of_suite("danube-table1", ZERO_SHOT, consumed_tokens=1_000_000_000_000, kind="run"))
    header, *rows = rows_of(text, "Danube, section 5, Table 1")
    assert header == ["Model", "Size", "Tokens", *tables_of("danube-table1", False)[0].columns]
    assert len(rows) == 11 + 2
    assert rows[4] == [
        "Cerebras",
        "1.3B",
        "0.03T",
        "45.88",
        "25.26",
        "59.36",
        "38.37",
        "29.20",
        "66.76",
        "5.49",
        "52.01",
    ]
    assert rows[-2] == ["danube", "-", "1.00T", *["50.12 ± 1.25"] * 8]
    own = [62.29, 35.84, 65.81, 68.20, 37.60, 76.93, 38.99, 61.96]
    assert rows[-1] == ["less H2O-Danube", "", "", *(f"{50.12 - value:+.2f}" for value in own)]


def test_means_and_their_errors() -> None:
    """Of independent tasks: the root of the sum of squares over their number."""
    values = dict(zip(LEADERBOARD, (0.40, 0.70, 0.26, 0.34, 0.64, 0.02), strict=True))
    errors = dict(zip(LEADERBOARD, (0.0143, 0.0046, 0.0037, 0.014, 0.0135, 0.0039), strict=True))
    results = suite_results(LEADERBOARD, values, errors, suite="open-llm-leaderboard")
    first, second = printed_tables(results)
    assert first.heading.endswith("Table 2: Open LLM Leaderboard")
    with_gsm, without = first.figures["Average"], first.figures["Average no GSM"]
    assert with_gsm.value == pytest.approx(100 * sum(values.values()) / 6)
    assert with_gsm.standard_error == pytest.approx(0.42, abs=0.005)
    assert without.value == pytest.approx(100 * (sum(values.values()) - 0.02) / 5)
    fives = [error for task, error in errors.items() if task != "gsm8k"]
    assert without.standard_error == pytest.approx(100 * math.sqrt(sum(error**2 for error in fives)) / 5)
    assert first.differences["Average"] == pytest.approx(100 * sum(values.values()) / 6 - 39.21)
    assert second.differences["Average"] == pytest.approx(100 * sum(values.values()) / 6 - 48.72)


def test_standard_errors_of_the_reports_own_row() -> None:
    """Table 2 is of whole splits; TruthfulQA, which is no share, has this model's error."""
    errors = dict.fromkeys(LEADERBOARD, 0.5) | {"truthfulqa_mc2": 0.014}
    results = suite_results(LEADERBOARD, dict.fromkeys(LEADERBOARD, 0.5), errors, suite="open-llm-leaderboard")
    table, _ = tables_of("open-llm-leaderboard", chat=False)
    found = own_errors(table, results)
    expected = {"ARC": 1.43, "HS": 0.46, "MMLU": 0.37, "TQA": 1.40, "Wino": 1.35, "GSM": 0.39, "Average": 0.42}
    assert {heading.split(" ")[0]: round(found[heading], 2) for heading in list(found)[:7]} == expected
    assert "Standard errors of H2O-Danube's row, by its items: ARC 25-shot 1.43, HS 10-shot 0.46" in render_table(
        results
    )


def test_an_error_over_a_few_items_stands_in_for_none_of_the_reports(tmp_path: Path) -> None:
    asked = Asked("truthfulqa_mc2", {"truthfulqa_mc2": [0.2, 0.6]}, metric="mc2", known_items=817)
    results = read_results(make_evaluation(tmp_path / "few", asked, suite="open-llm-leaderboard", limit=2))
    assert own_errors(tables_of("open-llm-leaderboard", chat=False)[0], results) == {}
    assert "Standard errors of" not in render_table(results)


def test_what_repeating_costs_stands_below_both_tables() -> None:
    text = render_table(of_suite("open-llm-leaderboard", LEADERBOARD))
    said = re.findall(r"What repeating costs: .*", text)
    assert len(said) == 2 and said[0] == said[1]
    assert "(section 5, Table 2 and section 7, Table 6)" in said[0]
    assert "GSM 5-shot 0.61" in said[0] and "Average 0.09" in said[0]
    assert "What repeating costs" not in render_table(of_suite("danube-table1", ZERO_SHOT))


def test_a_chat_model_stands_in_the_tables_of_chat_models() -> None:
    results = of_suite("open-llm-leaderboard", LEADERBOARD, is_chat=True)
    text = render_table(results)
    assert [printed.heading.split(":")[0] for printed in printed_tables(results)] == ["Danube, section 6.3, Table 5"]
    assert "Chat template: none, as in the reports." in text
    assert "Average of Qwen-1.8B-Chat is printed as 42.94; its row gives 42.95." in text
    with_template = render_table(of_suite("open-llm-leaderboard", LEADERBOARD, is_chat=True, chat_template=True))
    assert "Chat template: the folder's own" in with_template


def test_lokilms_table_says_what_its_figures_are() -> None:
    """Ten shots that nobody can give, rows of another report at other shots, and averages that are no averages."""
    text = render_table(of_suite("lokilm-table1", LOKILM))
    header, *rows = rows_of(text, "LokiLM, section 3.1, Table 1")
    assert header[-3:] == ["TruthfulQA (10-Shot)", "Average", "Non-TruthfulQA Avg."]
    assert [row[0] for row in rows[-3:]] == ["LokiLM", "danube", "less LokiLM"]
    assert "No version of the harness can do that" in text and "It is evaluated at 0." in text
    assert "are those of Danube's Table 6 to the digit" in text
    assert "ARC 25, HellaSwag 10, MMLU 5, Winogrande 5, GSM8K 5, TruthfulQA 0" in text
    assert "Average of Qwen1.5 is printed as 45.56; its row gives 46.55." in text
    assert len(re.findall("is printed as", text)) == 5
    assert ["45.56", "47.98"] in [row[-2:] for row in rows]


def test_below_it_stand_protocol_cuts_and_ties_also_where_there_are_none(tmp_path: Path) -> None:
    quiet = Asked("arc_easy", {"arc_easy": [1, 0, 1]}, metric="acc_norm", known_items=3)
    text = render_table(read_results(make_evaluation(tmp_path / "none", quiet)))
    assert "Protocol: paper: prompts, examples, answers of the Open LLM Leaderboard's harness, commit b281b09" in text
    assert "Prompts cut from the left: 0 of 3." in text
    assert "Exact ties, of which the first answer wins: 0 of 3." in text
    assert "Items with nothing left to score in full: 0 of 3." in text
    loud = [
        Asked("boolq", {"boolq": [1, 0]}, known_items=2, more={"cut": 1, "ties": 2}),
        Asked("piqa", {"piqa": [1, 1, 0]}, more={"nothing_left": 3}),
    ]
    text = render_table(read_results(make_evaluation(tmp_path / "some", *loud, protocol="current")))
    assert "Protocol: current: the tasks of lm-eval 0.4.13 as they are." in text
    assert "Prompts cut from the left: 1 of 5 (boolq 1)." in text
    assert "Exact ties, of which the first answer wins: 2 of 5 (boolq 2)." in text
    assert "Items with nothing left to score in full: 3 of 5 (piqa 3)." in text


def test_a_limit_is_said_and_a_missing_task_has_no_figure(tmp_path: Path) -> None:
    asked = Asked("hellaswag", {"hellaswag": [1, 0, 1, 0]}, 10, "acc_norm", known_items=10_042)
    results = read_results(make_evaluation(tmp_path / "few", asked, suite="open-llm-leaderboard", limit=4))
    text = render_table(results)
    assert "Not whole (--limit 4): hellaswag 4 of 10,042." in text
    row = next(row for row in rows_of(text, "Danube, section 5, Table 2") if row[0] == "danube")
    assert row == ["danube", "-", "-", "50.00 ± 28.87", "-", "-", "-", "-", "-", "-"]
    assert [*printed_tables(results)[0].differences] == ["HS 10-shot"]


def test_made_up_data_is_said(tmp_path: Path) -> None:
    real = Asked("piqa", {"piqa": [1, 0]}, known_items=2)
    made_up = Asked("boolq", {"boolq": [1, 0]}, known_items=3_270, more={"revision": MADE_UP})
    text = render_table(read_results(make_evaluation(tmp_path / "rehearsed", real, made_up)))
    assert "Made up, and no figure to hold against the reports': the data of boolq." in text


def test_other_shots_are_not_the_reports_column(tmp_path: Path) -> None:
    asked = Asked("hellaswag", {"hellaswag": [1, 0]}, 5, "acc_norm")
    results = read_results(make_evaluation(tmp_path / "few", asked, suite="open-llm-leaderboard"))
    assert not printed_tables(results)[0].figures


def test_a_users_own_suite_has_its_tasks_and_its_averages(tmp_path: Path) -> None:
    asked = [
        Asked("rivers|lakes", {"rivers|lakes": [1, 1, 1, 0]}, bits=[3.0, 4.0, 5.0, 6.0]),
        Asked("sums", {"sums": [0, 1]}, 2),
    ]
    averages = {"all of them": ["sums", "rivers|lakes"], "of what is not there": ["sums", "lakes"]}
    results = read_results(make_evaluation(tmp_path / "mine", *asked, averages=averages))
    text = render_table(results)
    assert "Protocol: none, the user's own items as they are." in text
    assert "## Danube" not in text and not table_as_plain(results)
    assert r"rivers\|lakes" in text and f"{(3 + 4 + 5 + 6) / (3 + 4 + 5 + 6):.4f}" in text
    mean = next(line for line in text.splitlines() if line.startswith("| all of them"))
    error = math.hypot(25.0, 50.0) / 2
    assert f"{(75 + 50) / 2:.2f} ± {error:.2f}" in mean and "of what is not there" not in text


def test_one_item_has_no_standard_error(tmp_path: Path) -> None:
    results = read_results(make_evaluation(tmp_path / "one", Asked("sums", {"sums": [1]})))
    text = render_table(results)
    assert "100.00" in text and "100.00 ±" not in text and "nan" not in text


def test_the_tables_for_programs() -> None:
    results = of_suite("danube-table1", ZERO_SHOT)
    [plain] = table_as_plain(results)
    assert plain["figures"]["Wino acc"] == {"value": pytest.approx(50.12), "standard_error": pytest.approx(1.25)}
    assert plain["differences"]["Wino acc"] == pytest.approx(50.12 - 61.96)


@pytest.mark.slow
def test_bars_of_every_model_and_this_one() -> None:
    """The picture changes with this model's figures and with its suite, and has a panel a table."""
    from matplotlib import image

    def height(png: bytes) -> int:
        assert png.startswith(b"\x89PNG")
        return int(image.imread(io.BytesIO(png), format="png").shape[0])

    loki = draw_bars(of_suite("lokilm-table1", LOKILM))
    both = draw_bars(of_suite("open-llm-leaderboard", LEADERBOARD))
    mine = draw_bars(of_suite("mine", LOKILM))
    assert height(both) == 2 * height(loki) == 2 * height(mine)
    assert loki != mine
