"""Tasks scored while a run trains: the run is the one without them, and their scores those of one process."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.cluster.checked_run import PretrainingRun
from custom_modules.cluster.start_rows import device_and_progress_rows
from custom_modules.commands.processes import check_training
from custom_modules.config.evaluate import EvaluateConfig
from custom_modules.config.load import load_config
from custom_modules.doctor.finding import Needs
from custom_modules.doctor.packages import check_tasks
from custom_modules.errors import UserError
from custom_modules.platform.requirements import Requirement
from custom_modules.tasks import extra
from custom_modules.tasks.datasets import MMLU_SUBJECTS
from custom_modules.tasks.of_run import suite_of, tasks_of
from tests.support import kills
from tests.support.commands import start_danube
from tests.support.evaluated import own_items, write_items
from tests.support.evaluation import write_data
from tests.support.own_tasks import evaluate_on
from tests.support.runs import assert_same_checkpoint, assert_same_run, checkpoints, read_metrics, records
from tests.support.tiny import TINY
from tests.training.test_resume import wait_for

Run = subprocess.CompletedProcess[str]
PIPELINE = "model.pipeline_model_parallel_size=2"
LAYOUTS = {
    "one": ["trainer.devices=1"],
    "dp2": ["trainer.devices=2"],
    "dp2_distributed": ["trainer.devices=2", "model.optim.name=distributed_fused_adam"],
    "fsdp2": ["trainer.devices=2", "model.fsdp=true"],
    "pp2": ["trainer.devices=2", PIPELINE],
    "vp2": ["trainer.devices=2", PIPELINE, "model.virtual_pipeline_model_parallel_size=2"],
    "tp2": ["trainer.devices=2", "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "cp2": ["trainer.devices=2", "model.context_parallel_size=2"],
    "bf16": ["trainer.devices=2", "trainer.precision=bf16-mixed", "model.optim.name=distributed_fused_adam"],
}
QUICK, SLOW = ["dp2"], ["fsdp2", "vp2"]
"""What CI runs, the first of these always; the rest is a campaign."""
SAME_BITS = ["dp2", "dp2_distributed", "fsdp2", "pp2", "vp2"]
"""Layouts whose forward pass adds up nothing in another order than one process does."""
SHORT = ["model.num_layers=4", "curriculum.stages.stage1.tokens=3000", "curriculum.stages.stage2.tokens=1000"]
COUNT = 30


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("items")
    first, second = folder / "first.jsonl", folder / "second.jsonl"
    return write_items(first, own_items(COUNT)), write_items(second, own_items(COUNT, seed=1))


@pytest.fixture(scope="module")
def train(
    danube: Callable[..., Run], prepared: Path, tmp_path_factory: pytest.TempPathFactory, items: tuple[Path, Path]
) -> Callable[..., tuple[Path, str]]:
    """Trains once for each layout, with tasks or without; returns the run's folder and what it said."""
    folder = tmp_path_factory.mktemp("runs")
    said: dict[str, str] = {}

    def run(layout: str, scored: bool) -> tuple[Path, str]:
        name = f"{layout}{'_scored' if scored else ''}"
        if name not in said:
            tasks = [evaluate_on(*items, every=1024)] if scored else []
            done = danube(
                *["pretrain", "--config-name", "danube_rehearsal", *TINY, *SHORT, f"data.dir={prepared}", *tasks],
                *[f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}", *LAYOUTS[layout]],
            )
            assert done.returncode == 0, done.stderr
            said[name] = done.stderr
        return folder / name, said[name]

    return run


def marked(layout: str) -> object:
    if layout in QUICK:
        return layout
    return pytest.param(layout, marks=pytest.mark.slow if layout in SLOW else pytest.mark.campaign)


@pytest.mark.parametrize("layout", map(marked, LAYOUTS))
def test_training_goes_on_as_without_them(layout: str, train: Callable[..., tuple[Path, str]]) -> None:
    """Every number that is logged beside theirs, and every tensor of the last checkpoint."""
    (plain, _), (scored, _) = (train(layout, scored) for scored in (False, True))
    kept = [line for line in records(scored) if line["kind"] != "evaluation"]
    assert kept == records(plain)
    assert len(records(scored)) > len(kept)
    assert_same_checkpoint(checkpoints(plain)[-1], checkpoints(scored)[-1])


@pytest.mark.slow
@pytest.mark.parametrize("layout", [marked(name) for name in LAYOUTS if name not in ("one", "bf16")])
def test_every_layout_scores_as_one_process_does(layout: str, train: Callable[..., tuple[Path, str]]) -> None:
    """Before the first step, when weights are the same: to the bit, or to rounding where sums are divided."""
    one, other = (read_metrics(train(name, True)[0], "evaluation")[0] for name in ("one", layout))
    assert one["tokens"] == other["tokens"] == 0
    assert one["bits_per_byte"].keys() == {"first", "second"}
    if layout in SAME_BITS:
        assert (other["accuracy"], other["bits_per_byte"]) == (one["accuracy"], one["bits_per_byte"])
    assert other["bits_per_byte"] == pytest.approx(one["bits_per_byte"], rel=1e-5)


def test_what_is_logged_and_said(train: Callable[..., tuple[Path, str]]) -> None:
    run_dir, said = train("dp2", True)
    lines = read_metrics(run_dir, "evaluation")
    assert [line["tokens"] for line in lines] == [0, 1024, 2048, 3072, 4096]
    for line in lines:
        assert (line["items"], line["scored_tokens"]) == (2 * COUNT, lines[0]["scored_tokens"])
        assert 0 < line["share_of_time"] < 1 and line["evaluation_seconds"] > 0
        assert all(0 <= value <= 1 for value in line["accuracy"].values())
    first, last = lines[0]["bits_per_byte"], lines[-1]["bits_per_byte"]
    assert all(last[name] < first[name] for name in first)
    assert f"{2 * COUNT} items" in said and "scored 5 times from here on, by FLOPs" in said
    assert f"{last['first']:.4f} bits a byte" in said


@pytest.mark.slow
def test_killed_inside_a_scoring(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """With kill -9, right behind the line of the validation in front of it; then the run goes on as if it had not."""
    short = [f"curriculum.stages.stage{number}.tokens={tokens}" for number, tokens in ((1, 4096), (2, 512))]
    many = [evaluate_on(write_items(tmp_path / "many.jsonl", own_items(200)), every=4096), "trainer.devices=2", *short]
    process = start_danube(*tiny("killed", *many))
    wait_for(process, r" 4,096 tokens .* validation loss")
    kills.kill(process)
    assert [line["tokens"] for line in read_metrics(tmp_path / "killed", "evaluation")] == [0]
    for name in ("whole", "killed"):
        done = danube(*tiny(name, *many))
        assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write_data(folder / "data")
    return folder / "data"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        (["triviaqa"], "trainer.evaluate.tasks: triviaqa: texts are generated for it"),
        (["piqa", "no_such_task"], "trainer.evaluate: no_such_task: no task"),
    ],
)
def test_tasks_that_cannot_be_scored_are_refused(tasks: list[str], problem: str, data: Path) -> None:
    options = EvaluateConfig(tasks=tasks, every_n_tokens=1, limit=3, data=str(data))
    with pytest.raises(UserError, match=rf"^{re.escape(problem)}.*(set trainer\.evaluate=null|leave it out)"):
        tasks_of(options)


@pytest.mark.slow
def test_tasks_of_the_library_in_the_metric_of_the_tables(
    data: Path, danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Groups and tasks without one right answer too; half of the documents, and other than all of them."""
    names = ["arc_easy", "truthfulqa_mc2", "mmlu"]
    done = danube(
        *tiny("run", "trainer.devices=2", "curriculum.stage=stage1", "curriculum.stages.stage1.tokens=1024"),
        f"trainer.evaluate={{tasks: [{', '.join(names)}], every_n_tokens: 100000, limit: 2, data: {data}}}",
    )
    assert done.returncode == 0, done.stderr
    first, last = read_metrics(tmp_path / "run", "evaluation")
    assert list(first["accuracy"]) == names and list(first["bits_per_byte"]) == ["arc_easy", "mmlu"]
    assert first["items"] == 2 + 2 + 2 * len(MMLU_SUBJECTS)
    assert (first["tokens"], last["tokens"]) == (0, 1024)
    tasks = suite_of(EvaluateConfig(tasks=names, every_n_tokens=1)).entries
    assert [entry.metric for entry in tasks] == ["acc_norm", "mc2", "acc"]
    assert {entry.num_fewshot for entry in tasks} == {0}


def test_no_data_is_said_with_what_fetches_it(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    done = danube(
        *tiny("run", "trainer.devices=1", "trainer.evaluate={tasks: [piqa], every_n_tokens: 5, data: nowhere}")
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("danube: trainer.evaluate")
    assert "danube evaluate --fetch nowhere" in done.stderr and "trainer.evaluate=null" in done.stderr
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_without_the_extra_the_start_the_doctor_and_preflight_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra, "project_requirements", lambda name: (Requirement("lm-eval-that-is-nowhere", "==1.0"),))
    scored = load_config("danube_rehearsal", ["trainer.evaluate={tasks: [mine.jsonl], every_n_tokens: 5, data: .}"])
    plain = load_config("danube_rehearsal", ["trainer.evaluate=null"])
    said = r"lm-eval-that-is-nowhere not installed; pip install 'lm-eval-that-is-nowhere==1.0'"
    refused = rf"^trainer\.evaluate: {said}, or 'danube-pretrain\[eval\]', or set trainer\.evaluate=null$"
    for ask in (check_training, PretrainingRun(scored).check_tasks):
        with pytest.raises(UserError, match=refused):
            ask(scored) if ask is check_training else ask()  # type: ignore[call-arg]
    check_training(plain)
    assert PretrainingRun(plain).check_tasks() is None
    [finding] = check_tasks(Needs(scored, gpu=False, slurm=False, timeout=5))
    assert (finding.state, finding.stops) == ("missing", True)
    assert finding.remedy is not None and finding.remedy.endswith(", or set trainer.evaluate=null")
    [finding] = check_tasks(Needs(plain, gpu=False, slurm=False, timeout=5))
    assert (finding.stops, finding.not_needed) == (False, "with trainer.evaluate=null")


def test_preflight_has_a_row_of_the_tasks(data: Path, tmp_path: Path) -> None:
    tasks = f"{{tasks: [piqa, mmlu], every_n_tokens: 5, data: {data}}}"
    config = load_config("danube_rehearsal", [f"trainer.evaluate={tasks}", f"exp_manager.exp_dir={tmp_path}"])
    rows = device_and_progress_rows(PretrainingRun(config), [], 2**40, on_cpu=True)
    [row] = [row for row in rows if row.check == "tasks"]
    assert (row.found, row.problem) == (f"piqa, mmlu, of {data}", None)
    folder = f"exp_manager.exp_dir={tmp_path}"
    gone = load_config("danube_rehearsal", [f"trainer.evaluate={tasks}", folder, "trainer.evaluate.data=nowhere"])
    [row] = [row for row in device_and_progress_rows(PretrainingRun(gone), [], 2**40, True) if row.check == "tasks"]
    assert row.problem is not None and "danube evaluate --fetch nowhere" in row.problem
