"""Tasks that a run was scored on while it trained, in its figure, on its page and in TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from custom_modules.report import draw
from custom_modules.report.ownership import made_in_report
from custom_modules.report.tasks import HEADER, task_rows
from custom_modules.run_folder.history import read_history
from custom_modules.run_folder.metrics import EvaluationMetrics, MetricsWriter
from tests.report.test_draw import PNG, Page, pixels, rehearsal_records, write_run

TOKENS = (0, 1_048_576, 2_097_152, 3_915_776)
BITS = {"arc_easy": (4.0, 2.5, 2.25, 2.375), "piqa": (3.5, 2.0, 1.75, 1.5)}
ACCURACY = {"arc_easy": (0.25, 0.25, 0.375, 0.5), "piqa": (0.5, 0.625, 0.5, 0.5), "mc2": (0.5, 0.5, 0.5, 0.5)}


def scored() -> list[EvaluationMetrics]:
    """Four scorings, the first of them before the first step; a task of several right answers has no bits."""
    return [
        EvaluationMetrics(
            step=tokens // 8192,
            tokens=tokens,
            stage="stage1",
            accuracy={name: values[number] for name, values in ACCURACY.items()},
            bits_per_byte={name: values[number] for name, values in BITS.items()},
            items=24,
            scored_tokens=9_000,
            evaluation_seconds=1.5,
            share_of_time=0.02,
        )
        for number, tokens in enumerate(TOKENS)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "run", list(rehearsal_records()))
    writer = MetricsWriter(folder, 10**9, tensorboard=True)
    for record in scored():
        writer.write(record)
    writer.close()
    draw(folder)
    return folder


@pytest.mark.slow
def test_its_page_is_known_to_be_a_reports_when_it_is_drawn_again(run: Path) -> None:
    page = run / "report" / "index.html"
    (run / "report" / "figure1.png").unlink()
    draw(run)
    assert page in made_in_report(run / "report")


def test_what_is_written_is_read(run: Path) -> None:
    history = read_history(run)
    assert list(history.evaluations) == scored()
    assert history.stages[0].start_tokens == 0 and history.end_tokens == TOKENS[-1]


def test_a_line_that_is_damaged_is_named(tmp_path: Path) -> None:
    from custom_modules.errors import UserError

    line = {"kind": "evaluation", **{name: getattr(scored()[0], name) for name in ("step", "tokens", "stage")}}
    write_run(tmp_path, [{**line, "accuracy": 3}, *rehearsal_records()])
    with pytest.raises(UserError, match=r"metrics.jsonl:1: not a metrics record"):
        read_history(tmp_path)


def test_the_figure_has_two_more_panels_with_curves(run: Path, tmp_path: Path) -> None:
    png = (run / "report" / "figure1.png").read_bytes()
    assert png.startswith(PNG)
    picture = pixels(png)[..., :3]
    plain = write_run(tmp_path / "plain", list(rehearsal_records()))
    draw(plain)
    height, width, _ = picture.shape
    assert height > 1.4 * pixels((plain / "report" / "figure1.png").read_bytes()).shape[0]
    for columns in (slice(0, width // 2), slice(width // 2, None)):
        panel = picture[2 * height // 3 :, columns]
        assert ((panel.max(axis=2) - panel.min(axis=2)) > 0.25).sum() > 500


def test_the_page_has_a_row_for_each_task(run: Path) -> None:
    page = Page((run / "report" / "index.html").read_text())
    assert list(HEADER) in page.rows
    assert ["arc_easy", "25.0%", "50.0%", "4.0000", "2.3750", "2.2500", "2,097,152"] in page.rows
    assert ["mc2", "50.0%", "50.0%", "none", "none", "none", ""] in page.rows
    assert task_rows([]) == []


def test_tensorboard_has_a_curve_for_each_task_by_tokens(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    for what, expected in (("accuracy", ACCURACY), ("bits_per_byte", BITS)):
        for name, values in expected.items():
            found = [(event.step, event.value) for event in events.Scalars(f"evaluation/{what}/{name}")]
            assert found == list(zip(TOKENS, values, strict=True))
    assert all(json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
