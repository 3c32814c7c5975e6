"""Which checkpoints of a run are its best is said where one of them is chosen: in an export, a comparison, a report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from custom_modules.comparison import compare
from custom_modules.conversion import to_hf
from custom_modules.report.page import render_page
from custom_modules.run_folder.best import best_of_run
from custom_modules.run_folder.checkpoint_files import checkpoints_dir, folder_name
from custom_modules.run_folder.history import History, StageHistory
from custom_modules.run_folder.metadata import METADATA
from custom_modules.run_folder.metrics import TrainMetrics
from tests.support.trained import Trained

LOSSES = (2.5, 1.25, 2.0, 1.75)


@pytest.fixture
def run_dir(trained: Trained, tmp_path: Path) -> Path:
    """A run that keeps its two best, and has four checkpoints of these `LOSSES`."""
    for number, loss in enumerate(LOSSES, start=1):
        path = checkpoints_dir(tmp_path / "run") / folder_name(8192 * number)
        shutil.copytree(trained.checkpoint, path)
        metadata = json.loads((path / METADATA).read_text())
        kept = metadata["config"]["exp_manager"]["checkpoint_callback_params"]
        kept |= {"monitor": "reduced_train_loss", "save_top_k": 2}
        counts = {"consumed_tokens": 8192 * number, "step": number}
        losses = {"since_save_loss_sum": 4 * loss, "since_save_loss_steps": 4}
        metadata |= {**counts, "progress": {**metadata["progress"], **counts, **losses}}
        (path / METADATA).write_text(json.dumps(metadata))
    return tmp_path / "run"


def of(run_dir: Path, numbers: Sequence[int]) -> list[Path]:
    return [checkpoints_dir(run_dir) / folder_name(8192 * number) for number in numbers]


def test_an_export_of_the_newest_names_the_best(
    run_dir: Path, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, second = of(run_dir, [2, 4])
    to_hf(run_dir, tmp_path / "newest")
    said = capsys.readouterr().err
    assert f"{second} is the newest; {run_dir}: of stage1 the best by reduced_train_loss are " in said
    assert f"{best.name} (1.2500), {second.name} (1.7500)" in said
    to_hf(best, tmp_path / "best")
    to_hf(trained.run_dir, tmp_path / "by_age")
    assert "reduced_train_loss" not in capsys.readouterr().err


def test_a_report_names_the_best(run_dir: Path) -> None:
    assert [checkpoint.path for checkpoint in best_of_run(run_dir)] == of(run_dir, [2, 4])
    metrics = TrainMetrics(
        step=1, tokens=8192, stage="stage1", seq_length=128, loss=2.5, learning_rate=1e-3, tokens_per_second=100.0
    )
    train = (metrics,)
    history = History(train, (), (StageHistory("stage1", 128, 0, 8192, train, ()),))
    page = render_page(history, "run", b"", None, best=best_of_run(run_dir))
    first, second = (page.index(path.name) for path in of(run_dir, [2, 4]))
    assert first < page.index("1.2500") < second < page.index("1.7500")
    assert "Best checkpoints" not in render_page(history, "run", b"", None)


def test_a_run_is_compared_by_its_newest_and_its_best(run_dir: Path, trained: Trained, tmp_path: Path) -> None:
    """These have the same weights, and so the same answers; nothing is left of what they were exported to."""
    (tmp_path / "prompts.yaml").write_text("[{name: one, prompt: 'The river'}]")
    output = tmp_path / "page"
    compare([run_dir, trained.checkpoint], tmp_path / "prompts.yaml", output, 4, 0, blind=False, overwrite=False)
    answers = json.loads((output / "answers.json").read_text())
    expected = [*of(run_dir, [4, 2]), trained.checkpoint]
    assert [name.split(" (")[0] for name in answers["models"]] == [*map(str, expected)]
    assert "training loss 1.2500" in answers["models"][1]
    assert len({*answers["answers"][0]}) == 1 and answers["answers"][0][0]
    assert sorted(path.name for path in output.iterdir()) == [".made_by_danube", "answers.json", "index.html"]
