"""A run's metrics drawn as Figure 1 and as a page."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from custom_modules.config.learning_rate import learning_rate
from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.report import draw
from custom_modules.report.figure import loss_limits, token_unit
from custom_modules.run_folder.history import read_history
from custom_modules.run_folder.metadata import write_metadata
from custom_modules.run_folder.metrics import ValidationMetrics

PNG = b"\x89PNG\r\n\x1a\n"


def rehearsal_records() -> Iterator[dict[str, Any]]:
    """A rehearsal's, with a line every 8 steps, and a validation at the end of each stage."""
    config = load_config("danube_rehearsal")
    curriculum = Curriculum.from_config(config)
    tokens = step = 0
    for stage in curriculum.stages:
        for _ in range(stage.steps):
            step, tokens = step + 1, tokens + stage.global_batch_tokens
            common = {"step": step, "tokens": tokens, "stage": stage.name, "seq_length": stage.seq_length}
            loss = 4.0 + 4.3 / (1 + step / 20)
            if step % 8 == 0 or tokens == stage.end_tokens:
                yield {
                    "kind": "train",
                    **common,
                    "loss": loss,
                    "learning_rate": learning_rate(config.model.optim, tokens, curriculum.total_tokens),
                    "grad_norm": 1.0,
                    "tokens_per_second": 20_000.0 + stage.seq_length,
                    "mfu": None,
                    "elapsed_seconds": tokens / 20_000,
                }
        bits = None if stage.name == "stage1" else loss / 3
        yield {"kind": "validation", **common, "loss": loss + 0.125, "bits_per_byte": bits}


def write_run(folder: Path, records: list[dict[str, Any]], tail: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return folder


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("runs") / "my <run>", list(rehearsal_records()))
    checkpoint = run / "checkpoints" / "tokens_000000000003915776"
    checkpoint.mkdir(parents=True)
    write_metadata(checkpoint, load_config("danube_rehearsal"), "", {})
    draw(run)
    return run


class Page(HTMLParser):
    """Tables by row, and every reference to something outside the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.references: list[str] = []
        self.text = ""
        self.in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset") and value]
        assert tag not in ("script", "link", "iframe")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data


def pixels(png: bytes) -> Any:
    from matplotlib import image

    return image.imread(io.BytesIO(png), format="png")


def test_draws_a_figure_with_four_coloured_curves(rehearsal: Path) -> None:
    png = (rehearsal / "report" / "figure1.png").read_bytes()
    assert png.startswith(PNG)
    picture = pixels(png)[..., :3]
    height, width, _ = picture.shape
    assert width > 1500
    assert height > 900
    halves = (slice(0, height // 2), slice(height // 2, None)), (slice(0, width // 2), slice(width // 2, None))
    for rows in halves[0]:
        for columns in halves[1]:
            panel = picture[rows, columns]
            coloured = (panel.max(axis=2) - panel.min(axis=2)) > 0.25
            assert coloured.sum() > 500


def test_the_page_holds_everything_itself(rehearsal: Path) -> None:
    page = Page((rehearsal / "report" / "index.html").read_text())
    (source,) = page.references
    kind, _, data = source.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (rehearsal / "report" / "figure1.png").read_bytes()
    assert "my <run>" in page.text
    assert not re.search(r"url\(|@import", (rehearsal / "report" / "index.html").read_text())


def test_the_page_has_a_row_per_stage(rehearsal: Path) -> None:
    records = list(rehearsal_records())
    page = Page((rehearsal / "report" / "index.html").read_text())
    lengths = {"stage1": "128", "stage2": "256", "stage3": "512", "stage4": "1,024"}
    tokens = {"stage1": "2,736,128", "stage2": "393,216", "stage3": "393,216", "stage4": "393,216"}
    for name in lengths:
        losses = [record["loss"] for record in records if record["stage"] == name and record["kind"] == "train"]
        (validated,) = [r["loss"] for r in records if r["stage"] == name and r["kind"] == "validation"]
        speed = f"{20_000 + int(lengths[name].replace(',', '')):,}"
        (bits,) = (r["bits_per_byte"] for r in records if r["stage"] == name and r["kind"] == "validation")
        bits_per_byte = "not known" if bits is None else f"{bits:.4f}"
        expected = [f"{losses[0]:.4f}", f"{losses[-1]:.4f}", f"{validated:.4f}", bits_per_byte, speed]
        assert [name, lengths[name], tokens[name], *expected] in page.rows


def test_the_page_has_the_runs_config(rehearsal: Path) -> None:
    rows = Page((rehearsal / "report" / "index.html").read_text()).rows
    assert ["model.optim.lr", "0.004"] in rows
    assert ["curriculum.stages.stage4.encoder_seq_length", "1024"] in rows
    assert ["model.fp8", "null"] in rows


def test_stages_are_found_in_the_metrics(rehearsal: Path) -> None:
    stages = read_history(rehearsal).stages
    assert [(stage.name, stage.seq_length, stage.start_tokens, stage.end_tokens) for stage in stages] == [
        ("stage1", 128, 0, 2_736_128),
        ("stage2", 256, 2_736_128, 3_129_344),
        ("stage3", 512, 3_129_344, 3_522_560),
        ("stage4", 1024, 3_522_560, 3_915_776),
    ]


def test_another_folder_can_be_given(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", list(rehearsal_records())[:5])
    figure, page = draw(run, tmp_path / "elsewhere" / "deep")
    assert (figure, page) == (tmp_path / "elsewhere/deep/figure1.png", tmp_path / "elsewhere/deep/index.html")
    assert sorted(path.name for path in figure.parent.iterdir()) == ["figure1.png", "index.html"]
    assert not (run / "report").exists()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_that_has_just_begun(tmp_path: Path, count: int) -> None:
    figure, page = draw(write_run(tmp_path, list(rehearsal_records())[:count]))
    assert figure.read_bytes().startswith(PNG)
    assert "no checkpoint yet" in page.read_text()


def test_a_run_whose_loss_was_not_finite(tmp_path: Path) -> None:
    records = list(rehearsal_records())[:20]
    records[-1]["loss"] = float("nan")
    figure, page = draw(write_run(tmp_path, records))
    assert figure.read_bytes().startswith(PNG)
    assert "nan" in page.read_text()


@pytest.mark.slow
def test_a_line_still_being_written_is_left_out(tmp_path: Path) -> None:
    records = list(rehearsal_records())[:10]
    run = write_run(tmp_path, records, tail='{"kind": "train", "step": 88, "tok')
    assert len(read_history(run).train) == 10
    draw(run)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, list(rehearsal_records())[:2], tail='{"kind": "tra\n{"kind": "validation", "step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:3: .*remove that line") as caught:
        draw(run)
    assert "\n" not in str(caught.value)
    run = write_run(tmp_path, list(rehearsal_records())[:2], tail='{"kind": "validation", "step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:3: .*no tokens"):
        draw(run)


def test_records_of_kinds_to_come_are_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, [*list(rehearsal_records())[:3], {"kind": "note", "text": "hello"}])
    assert len(read_history(run).train) == 3


@pytest.mark.parametrize("contents", [None, ""])
def test_no_metrics(tmp_path: Path, contents: str | None) -> None:
    if contents is not None:
        (tmp_path / "metrics.jsonl").write_text(contents)
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        draw(tmp_path)
    assert not (tmp_path / "report").exists()


def test_what_cannot_be_written_leaves_the_old_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", list(rehearsal_records())[:5])
    figure, _ = draw(run)
    before = figure.read_bytes()
    (run / "report" / f".index.html.{os.getpid()}.partial").mkdir()
    with pytest.raises(UserError, match=r"index\.html: cannot be written"):
        draw(write_run(run, list(rehearsal_records())))
    assert figure.read_bytes() == before
    assert [path.name for path in (run / "report").glob("*.partial")] == [f".index.html.{os.getpid()}.partial"]


def points(losses: list[float]) -> list[ValidationMetrics]:
    return [
        ValidationMetrics(step=n, tokens=1000 * n, stage="stage1", seq_length=128, loss=loss)
        for n, loss in enumerate(losses, start=1)
    ]


def test_the_first_fall_does_not_flatten_the_rest() -> None:
    steep = points([9.0, 7.0, *(3.0 - n / 100 for n in range(98))])
    limits = loss_limits(steep)
    assert limits is not None
    assert limits[0] < 3.0 - 97 / 100
    assert 3.0 < limits[1] < 4.0
    assert loss_limits(points([5.0 - n / 50 for n in range(100)])) is None
    assert loss_limits(points([9.0, 3.0, 2.9])) is None
    assert loss_limits(points([3.0] * 100)) is None


@pytest.mark.parametrize(
    ("tokens", "unit"),
    [(999, (1, "")), (65_536, (10**3, "thousands")), (3_915_776, (10**6, "millions")), (10**12, (10**9, "billions"))],
)
def test_the_unit_of_the_token_axis(tokens: int, unit: tuple[int, str]) -> None:
    assert token_unit(tokens) == unit


def test_the_page_has_what_distilled_steps_were_trained_on(tmp_path: Path) -> None:
    """Only where there were some: the objective, and each target's share over the lines of a stage."""
    records = [record for record in rehearsal_records() if record["kind"] == "train"]
    for record in records:
        if record["stage"] == "stage1":
            record |= {"objective": record["loss"] - 1, "wins": {"ground_truth": 0.25, "oak": 0.75}}
    records[0] |= {"wins": {"ground_truth": 1.0, "oak": 0.0}}
    figure, file = draw(write_run(tmp_path, records))
    page = Page(file.read_text())
    of_stage = [record for record in records if record["stage"] == "stage1"]
    share = (0.25 * (len(of_stage) - 1) + 1) / len(of_stage)
    first, last = of_stage[0], of_stage[-1]
    losses = [f"{first['objective']:.4f}", f"{last['objective']:.4f}", f"{last['loss']:.4f}"]
    assert ["stage1", *losses, f"{share:.1%}", f"{1 - share:.1%}"] in page.rows
    assert "wins of oak" in page.text
    assert not any(row[:1] == ["stage2"] and row[-1].endswith("%") for row in page.rows)
    plain, _ = draw(write_run(tmp_path / "plain", [r for r in rehearsal_records() if r["kind"] == "train"]))
    assert figure.read_bytes() != plain.read_bytes()


def test_the_page_of_a_plain_run_says_nothing_of_teachers(rehearsal: Path) -> None:
    assert "Distillation" not in Page((rehearsal / "report" / "index.html").read_text()).text
