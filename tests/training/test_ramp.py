"""A batch that grows, with the tokens consumed or from stage to stage, and micro-batches in tokens, in a run."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from custom_modules.cluster.status import read_status, render_status
from custom_modules.config.learning_rate import learning_rate
from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.plan import build_plan
from custom_modules.report import draw
from tests.support import kills
from tests.support.commands import start_danube
from tests.support.runs import assert_same_run, checkpoints, read_metrics
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
RAMP = [
    "curriculum.stages.stage1.global_batch_tokens=192",
    "model.micro_batch_size=null",
    "model.micro_batch_tokens=128",
    "trainer.log_every_n_tokens=512",
    "trainer.devices=1",
]
GROWING = [
    "model.rampup_batch_tokens=[128,128,8000]",
    "trainer.log_every_n_tokens=1",
    "trainer.val_every_n_tokens=4096",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens=1500",
    "exp_manager.checkpoint_callback_params.save_last_n=20",
]
"""Over stage1, of 7,000 tokens at length 32, and into stage2: 128 to 512 tokens a step, 3 times 128 more."""


@pytest.mark.slow
def test_a_ramp(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """Intervals and learning rates follow the tokens of each stage's own steps; a stop in between changes nothing."""
    whole = danube(*tiny("whole", *RAMP))
    assert whole.returncode == 0, whole.stderr
    stages = Curriculum.from_config(load_config("danube_rehearsal", tiny("whole", *RAMP)[3:])).stages
    assert "stage1: micro-batch 3: the largest up to 128 tokens / 32 that divides the 6 sequences" in whole.stderr
    assert "stage2: micro-batch 2: the largest up to 128 tokens / 64 that divides the 8 sequences" in whole.stderr

    expected: list[tuple[int, str]] = []
    clock = 0
    for stage in stages:
        for _ in range(stage.steps):
            before, clock = clock, clock + {"stage1": 192, "stage2": 512}[stage.name]
            if before // 512 < clock // 512 or clock == stage.end_tokens:
                expected.append((clock, stage.name))
    lines = read_metrics(tmp_path / "whole")
    assert [(line["tokens"], line["stage"]) for line in lines] == expected
    optim = load_config("danube_rehearsal", tiny("whole", *RAMP)[3:]).model.optim
    for line in lines:
        assert line["learning_rate"] == pytest.approx(learning_rate(optim, line["tokens"], clock), rel=1e-6)
    assert lines[-1]["step"] == sum(stage.steps for stage in stages)

    for stage in stages:
        part = danube(*tiny("parts", *RAMP, f"curriculum.stage={stage.name}"))
        assert part.returncode == 0, part.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_log_says_that_a_size_wins(danube: Callable[..., Run], tiny: Callable[..., list[str]]) -> None:
    done = danube(*tiny("run", "trainer.devices=1", "model.micro_batch_size=4", "curriculum.stage=stage1"))
    assert done.returncode == 0, done.stderr
    assert "micro-batch 4: model.micro_batch_size=4; wins over model.micro_batch_tokens=2048" in done.stderr


@pytest.fixture(scope="module")
def growing(danube: Callable[..., Run], prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of two processes whose batch grows, which no one disturbed, and its log."""
    folder = tmp_path_factory.mktemp("growing")
    places = [f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run", "trainer.devices=2"]
    done = danube("pretrain", "--config-name", "danube_rehearsal", *TINY, *GROWING, *places)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stderr


def batch_at(consumed: int) -> int:
    """The rule: 128 more after each third of 8,000 tokens."""
    return 128 + 128 * (3 * consumed // 8000) if consumed < 8000 else 512


def growing_config(*overrides: str) -> Config:
    return load_config("danube_rehearsal", [*TINY, *GROWING, "trainer.devices=2", *overrides])


@pytest.mark.slow
def test_batch_and_learning_rate_at_every_step(growing: tuple[Path, str]) -> None:
    run_dir, _ = growing
    lines = read_metrics(run_dir)
    clock = [0, *(line["tokens"] for line in lines)]
    assert all(after - before == batch_at(before) for before, after in pairwise(clock))
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    optim = growing_config().model.optim
    for line in lines:
        assert line["learning_rate"] == pytest.approx(learning_rate(optim, line["tokens"], clock[-1]), rel=0, abs=1e-15)
    assert lines[-1]["learning_rate"] == 2e-4
    ends = [tokens for tokens in clock if tokens >= 7000][:1] + clock[-1:]
    validated = [line["tokens"] for line in read_metrics(run_dir, "validation")]
    assert validated == sorted({next(t for t in clock if t >= 4096), next(t for t in clock if t >= 8192), *ends})
    assert lines[0]["loss"] - lines[-1]["loss"] > 0.3


@pytest.mark.slow
def test_log_plan_report_and_status_show_the_phases(growing: tuple[Path, str], tmp_path: Path) -> None:
    run_dir, log = growing
    plan = build_plan(growing_config())
    phases = [(stage, number, phase) for stage in plan.stages for number, phase in enumerate(stage.phases, start=1)]
    assert [(stage.name, phase.global_batch_tokens) for stage, _, phase in phases] == [
        *(("stage1", tokens) for tokens in (128, 256, 384)),
        *(("stage2", tokens) for tokens in (384, 512)),
    ]
    _, page = draw(run_dir, tmp_path / "report")
    for stage, number, phase in phases:
        assert (
            f"{stage.name}: phase {number} of {len(stage.phases)}, "
            f"{phase.steps:,} steps to {phase.end_tokens:,} tokens: "
            f"{phase.global_batch_size} sequences a step = {phase.global_batch_tokens:,} tokens / {stage.seq_length}; "
            f"{phase.num_microbatches} micro-batches of {phase.micro_batch_size} on each of 2 data-parallel ranks\n"
        ) in log
        assert "".join(f"<td>{cell}</td>" for cell in phase.cells(stage.name)) in page.read_text()
    status = read_status(run_dir)
    assert (status.phase, status.phases, status.global_batch_tokens, status.num_microbatches) == (2, 2, 512, 2)
    assert "batch       phase 2 of 2: 512 tokens a step, accumulation 2, " in render_status(status)
    assert status.phase_end_tokens == status.total_tokens == plan.total_tokens


@pytest.mark.slow
def test_kill_9_inside_the_ramp(
    growing: tuple[Path, str], tiny: Callable[..., list[str]], danube: Callable[..., Run], tmp_path: Path
) -> None:
    """The same command ends with the same losses and weights, after a dry run too; another ramp is refused."""
    arguments = tiny("run", *GROWING, "trainer.devices=2")
    process = start_danube(*arguments)
    assert process.stderr is not None
    for line in process.stderr:
        if re.search("stage1: phase 3 of 3", line):
            break
    kills.kill(process)
    time.sleep(0.5)
    assert checkpoints(tmp_path / "run")
    refused = danube(*arguments, "model.rampup_batch_tokens=[128,128,7000]")
    assert refused.returncode == 2
    assert "model.rampup_batch_tokens: [128, 128, 8000] -> [128, 128, 7000]; take them back" in refused.stderr
    resumed = danube(*arguments, "trainer.dry_run=true")
    assert resumed.returncode == 0, resumed.stderr
    assert "dry run of stage1" in resumed.stderr
    assert_same_run(growing[0], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [["trainer.devices=1"], ["trainer.devices=2", "model.pipeline_model_parallel_size=2", "model.micro_batch_size=1"]],
    ids=["dp1", "pp2"],
)
def test_another_number_of_devices_goes_on_inside_the_ramp(
    layout: list[str],
    growing: tuple[Path, str],
    tiny: Callable[..., list[str]],
    danube: Callable[..., Run],
    tmp_path: Path,
) -> None:
    """Learning rates and losses are the same; a log line has the mean of its tokens, in whatever batches."""
    shutil.copytree(growing[0], tmp_path / "run")
    for path in checkpoints(tmp_path / "run"):
        if int(path.name.removeprefix("tokens_")) > 4000:
            shutil.rmtree(path)
    begin = int(checkpoints(tmp_path / "run")[-1].name.removeprefix("tokens_"))
    assert begin > 2667
    done = danube(*tiny("run", *GROWING, *layout, "trainer.log_every_n_tokens=2500"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"stage1: phase 2 of 3.* on each of 1 data-parallel ranks", done.stderr)
    steps = {line["tokens"]: line for line in read_metrics(growing[0])}
    found = [line for line in read_metrics(tmp_path / "run") if line["tokens"] > begin]
    assert len(found) == 4
    for line in found:
        losses = {tokens: step["loss"] for tokens, step in steps.items() if begin < tokens <= line["tokens"]}
        batches = {after: after - before for before, after in pairwise([begin, *losses])}
        begin = line["tokens"]
        assert line["learning_rate"] == steps[begin]["learning_rate"]
        mean = sum(batches[tokens] * loss for tokens, loss in losses.items()) / sum(batches.values())
        assert line["loss"] == pytest.approx(mean, rel=1e-5)
