"""Table 3's layout: the report's averages come from its own rows, through the whole command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from custom_modules.cli import main
from tests.support.judge import Judge, Request, running_judge
from tests.support.mt_bench import read_lines, result

Say = pytest.CaptureFixture[str]
Words = Callable[..., list[str]]
COLUMNS = [
    column
    for column in yaml.safe_load(Path("custom_modules/mt_bench/published.yaml").read_text())
    if column["source"] == "section 6.3, Table 3"
]
ORDER = ["Extraction", "Humanities", "Math", "Reasoning", "Roleplay", "STEM", "Writing", "Average"]


@pytest.fixture
def judge() -> Iterator[Judge]:
    with running_judge() as judge:
        yield judge


def by_rows(turn_1: dict[str, float], turn_2: dict[str, float], bench: Path) -> Callable[[Request], str]:
    """A judge who gives each category of a turn a rating of its own."""
    categories = {one["turns"][0]: one["category"] for one in read_lines(bench / "question.jsonl")}

    def rate(request: Request) -> str:
        category = next(category for question, category in categories.items() if question in request.user)
        rows = turn_2 if request.user.startswith("Q1") else turn_1
        return f"[[{rows[category]}]]"

    return rate


def printed(out: str) -> list[tuple[str, list[str]]]:
    """Rows of the table: their name and their cells."""
    rows = [re.split(r" {2,}", line.strip()) for line in out.splitlines() if line.startswith("  ")]
    return [(row[0], row[1:]) for row in rows if len(row) > 1]


@pytest.mark.parametrize("number", range(4))
def test_the_reports_averages_from_its_own_rows(
    number: int, judge: Judge, judged: Words, bench: Path, tmp_path: Path, capsys: Say
) -> None:
    """A judge who gives a column's ratings makes that column again, beside itself: averages, order, digits."""
    column = COLUMNS[number]
    judge.rate = by_rows(column["turn_1"], column["turn_2"], bench)
    assert main(judged(*judge.options, "--parallel", "4")) == 0
    out = capsys.readouterr().out
    header, *rows = printed(out)
    assert header[1] == [*(other["name"] for other in COLUMNS[1:]), "model"] and header[0] == COLUMNS[0]["name"]
    assert [name for name, _ in rows] == [*ORDER, *ORDER]
    assert all(len(cells) == 5 and cells[number] == cells[-1] for _, cells in rows)
    averages = [cells[-1] for name, cells in rows if name == "Average"]
    assert averages == [f"{column['without_coding'][turn]:.2f}" for turn in ("turn_1", "turn_2")]
    assert (tmp_path / "output" / "table.txt").read_text() == out


def test_section_7_is_of_all_categories_and_both_turns(
    judge: Judge, judged: Words, bench: Path, tmp_path: Path, capsys: Say
) -> None:
    """FastChat's average is over all answers of both turns; what the report does not say is not made up."""
    categories = {one["category"] for one in read_lines(bench / "question.jsonl")}
    judge.rate = by_rows(dict.fromkeys(categories, 6.23), dict.fromkeys(categories, 5.34), bench)
    assert main(judged(*judge.options, "--categories", "all")) == 0
    header, *rows = printed(capsys.readouterr().out)
    assert header[1][-2:] == ["H2O-Danube2-1.8B-Chat", "model"]
    coding = [cells for name, cells in rows if name == "Coding"]
    assert coding == [["-"] * 5 + ["6.23"], ["-"] * 5 + ["5.34"]]
    averages = [cells for name, cells in rows if name in ("Average", "Both turns")]
    assert [cells[:4] for cells in averages] == [["-"] * 4] * 3, "Table 3's are without coding"
    assert [float(cells[4]) for cells in averages] == [6.23, 5.34, 5.79]
    assert [float(cells[5]) for cells in averages] == pytest.approx([6.23, 5.34, 5.785], abs=0.0051)
    found = result(tmp_path / "output")
    assert found["both_turns"] == {"mean": pytest.approx((6.23 + 5.34) / 2), "rated": 16, "unrated": 0}
    assert found["judge"]["address"] == judge.address and found["judge"]["judge"] == "judge"
    assert found["answers"]["repetition_penalty"] == 1.1 and len(found["answers"]["weights"]["model.safetensors"]) == 64


def test_the_same_mean_as_fastchats_own_way(judge: Judge, judged: Words, tmp_path: Path) -> None:
    """show_result averages a turn's scores, those of -1 left out: with pandas there, without here."""
    texts = ["[[3]]", "nothing", "[[10]]", "[[55]]", "[[4.5]]"]
    judge.rate = lambda request: texts[len(judge.requests) % len(texts)]
    assert main(judged(*judge.options)) == 0
    path = tmp_path / "output" / "model_judgment" / "judge_single.jsonl"
    scores = [(record["turn"], record["score"]) for record in read_lines(path) if record["score"] != -1]
    found = result(tmp_path / "output")
    for turn in (1, 2):
        of_turn = [score for number, score in scores if number == turn]
        assert found[f"turn_{turn}"]["average"]["mean"] == pytest.approx(sum(of_turn) / len(of_turn))
    assert found["both_turns"]["mean"] == pytest.approx(sum(score for _, score in scores) / len(scores))
