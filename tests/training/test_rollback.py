"""Loss spikes in runs on data that is no text in some steps: back to a checkpoint and on, skipped, or the end."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from custom_modules.cluster.status import read_status, render_status
from custom_modules.config.load import load_config
from custom_modules.errors import DivergedError
from custom_modules.objective import OBJECTIVES
from custom_modules.report import draw
from custom_modules.run_folder.checkpoint_files import open_checkpoint
from custom_modules.training.signals import StopRequest
from tests.support import kills
from tests.support.commands import environment, start_danube
from tests.support.runs import assert_same_run, checkpoints, read_metrics, tensors
from tests.support.spikes import damage
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
LONG = [
    "curriculum.stages.stage1.tokens=20480",
    "data.max_epochs=9",
    "trainer.log_every_n_tokens=512",
]
"""40 steps in the first stage."""
ROLLBACK = "exp_manager.loss_spike={window: 16, patience: 3, floor: 0.6}"
HIGH = range(26, 29)
"""The steps of the first stage, from 0, whose samples are no text: one is saved in between, at 14,336 tokens."""
BEFORE, FIRST_HIGH, SPIKE = 12_288, 13_312, 14_848
"""Tokens of the checkpoint before the spike, at its begin, and where it is found."""

Spiky = Callable[..., list[str]]


@pytest.fixture(scope="module")
def damaged_in(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[range], Path]:
    """Gives a ``data.dir`` with random tokens in some steps; each made once."""
    folder = tmp_path_factory.mktemp("damaged")

    def data(steps: range) -> Path:
        found = folder / f"{steps.start}-{steps.stop}"
        if not found.exists():
            shutil.copytree(prepared, found)
            damage([*TINY, *LONG, f"data.dir={found}"], steps, folder / "cache")
        return found

    return data


@pytest.fixture
def spiky(damaged_in: Callable[[range], Path], tmp_path: Path) -> Spiky:
    """Arguments of a `danube pretrain` on data with a spike in it."""

    def arguments(name: str, *overrides: str, high: range = HIGH, folder: Path = tmp_path) -> list[str]:
        places = [f"data.dir={damaged_in(high)}", f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}"]
        return ["pretrain", "--config-name", "danube_rehearsal", *TINY, *LONG, "trainer.devices=1", *places, *overrides]

    return arguments


@pytest.fixture(scope="module")
def gone_back(
    danube: Callable[..., Run], damaged_in: Callable[[range], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder of a run that went back once and was left alone, and its log."""
    folder = tmp_path_factory.mktemp("gone_back")
    places = [f"data.dir={damaged_in(HIGH)}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run"]
    done = danube(
        *["pretrain", "--config-name", "danube_rehearsal", *TINY, *LONG, ROLLBACK, "trainer.devices=1", *places]
    )
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stderr


def rollbacks(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "rollbacks.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_goes_back_and_on(gone_back: tuple[Path, str]) -> None:
    """The list, the folders and the metrics: what was abandoned is kept beside what took its place."""
    run_dir, log = gone_back
    [rollback] = rollbacks(run_dir)
    assert rollback["reason"] in log
    assert {key: rollback[key] for key in ("from_tokens", "first_high_tokens", "spike_tokens", "stage", "attempt")} == {
        "from_tokens": BEFORE,
        "first_high_tokens": FIRST_HIGH,
        "spike_tokens": SPIKE,
        "stage": "stage1",
        "attempt": 1,
    }
    assert [path.name for path in run_dir.glob("checkpoints/rolled_back_*")] == [
        "rolled_back_0_tokens_000000000000014336"
    ]
    abandoned = [json.loads(line) for line in (run_dir / "rolled_back_0.jsonl").read_text().splitlines()]
    assert [line["tokens"] for line in abandoned] == list(range(BEFORE + 512, SPIKE + 512, 512))
    kept = read_metrics(run_dir)
    assert [line["tokens"] for line in kept] == list(range(512, 23_552 + 512, 512))
    worst = {tokens: line["loss"] for line in abandoned if (tokens := line["tokens"]) > FIRST_HIGH}
    assert all(worst[line["tokens"]] > line["loss"] + 0.4 for line in kept if line["tokens"] in worst)
    copies = {path.name: open_checkpoint(path).progress for path in checkpoints(run_dir)}
    assert all(len(one.rollbacks) == 1 for one in copies.values())
    assert all(one.spike_window is not None and one.spike_window.losses for one in copies.values())


@pytest.mark.slow
def test_status_and_report_show_it(gone_back: tuple[Path, str], tmp_path: Path) -> None:
    run_dir, _ = gone_back
    assert f"rollbacks   1, the last from {SPIKE:,} back to {BEFORE:,} tokens (stage1: " in render_status(
        read_status(run_dir)
    )
    figure, page = draw(run_dir, tmp_path / "report")
    row = f"<td>stage1</td><td>{FIRST_HIGH:,}</td><td>{SPIKE:,}</td><td>{BEFORE:,}</td>"
    assert row in page.read_text()
    without = tmp_path / "without"
    shutil.copytree(run_dir, without)
    (without / "rolled_back_0.jsonl").unlink()
    assert draw(without, tmp_path / "other")[0].read_bytes() != figure.read_bytes()


MOMENTS = [
    r"os\.rename rollbacks\.jsonl",
    r"os\.rename rolled_back_H\.jsonl",
    r"os\.rename checkpoints/rolled_back_H_tokens_H",
    r"os\.rename metrics\.jsonl",
]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [*MOMENTS, None])
def test_kill_9_at_a_rollback(
    moment: str | None, gone_back: tuple[Path, str], spiky: Spiky, danube: Callable[..., Run], tmp_path: Path
) -> None:
    """In the middle of it, or between it and the next checkpoint: the weights of the run that was left alone."""
    arguments = spiky("run", ROLLBACK)
    at = None if moment is None else kills.KillAt(str(tmp_path / "run"), moment)
    process = start_danube(*arguments, env={**environment(), **(at.environment() if at else {})})
    if moment is None:
        assert process.stderr is not None
        assert any("rollback 1 goes on from" in line for line in process.stderr)
        assert any("step 26 " in line for line in process.stderr)
        kills.kill(process)
    else:
        kills.assert_killed(process)
    resumed = danube(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(gone_back[0], tmp_path / "run")
    assert rollbacks(tmp_path / "run") == rollbacks(gone_back[0])
    assert len(list((tmp_path / "run").glob("checkpoints/rolled_back_*"))) == 1


@pytest.mark.slow
def test_another_number_of_devices_goes_on_behind_it(
    gone_back: tuple[Path, str], spiky: Spiky, danube: Callable[..., Run], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(gone_back[0], run_dir)
    kept = {path.name: path for path in checkpoints(run_dir)}
    for name in [name for name in kept if int(name[-18:]) > 20_480]:
        shutil.rmtree(kept[name])
    done = danube(*spiky("run", ROLLBACK, "trainer.devices=2"))
    assert done.returncode == 0, done.stderr
    for one, other in zip(read_metrics(gone_back[0]), read_metrics(run_dir), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3), one["step"]


@pytest.mark.slow
def test_two_devices_go_back_to_what_one_does(
    gone_back: tuple[Path, str], spiky: Spiky, danube: Callable[..., Run], tmp_path: Path
) -> None:
    """The same samples in the same order, so the same losses but for rounding; to a checkpoint that has a successor of
    the high steps already, where one alone is kept."""
    keep = ["exp_manager.checkpoint_callback_params.save_last_n=1", "exp_manager.loss_spike.max_rollbacks=2"]
    done = danube(*spiky("run", ROLLBACK, *keep, "trainer.devices=2"))
    assert done.returncode == 0, done.stderr
    assert [one["from_tokens"] for one in rollbacks(tmp_path / "run")] == [BEFORE]
    for one, other in zip(read_metrics(gone_back[0]), read_metrics(tmp_path / "run"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3), one["step"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout", [["model.optim.name=distributed_fused_adam"], ["model.fsdp=true"]], ids=["zero", "fsdp"]
)
def test_the_engine_that_is_there_goes_on_as_a_new_one(
    layout: list[str], spiky: Spiky, danube: Callable[..., Run], tmp_path: Path
) -> None:
    arguments = [ROLLBACK, "trainer.devices=2", "curriculum.stage=stage1", *layout]
    alone = danube(*spiky("alone", *arguments))
    assert alone.returncode == 0, alone.stderr
    process = start_danube(*spiky("killed", *arguments))
    assert process.stderr is not None
    assert any("rollback 1 goes on from" in line for line in process.stderr)
    kills.kill(process)
    resumed = danube(*spiky("killed", *arguments))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / "alone", tmp_path / "killed")


@pytest.mark.slow
def test_it_goes_back_no_more_often_than_it_may(spiky: Spiky, danube: Callable[..., Run], tmp_path: Path) -> None:
    """Whatever is left to read is no text: twice to the newest checkpoint, once to the one before, and the end."""
    arguments = spiky("run", ROLLBACK, high=range(26, 60))
    ended = danube(*arguments)
    assert ended.returncode == 3, ended.stderr
    found = rollbacks(tmp_path / "run")
    assert [one["from_tokens"] for one in found] == [BEFORE, BEFORE, BEFORE - 2048]
    assert [one["attempt"] for one in found] == [1, 2, 3]
    assert len({one["seed"] for one in found}) == 3
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("danube: step ")
    assert "it went back exp_manager.loss_spike.max_rollbacks=3 times" in last
    assert "model.restore_from_path=" in last
    again = danube(*arguments)
    assert again.returncode == 3, again.stderr
    assert rollbacks(tmp_path / "run") == found


@pytest.mark.slow
def test_a_spike_before_the_first_checkpoint(spiky: Spiky, danube: Callable[..., Run], tmp_path: Path) -> None:
    every = "exp_manager.checkpoint_callback_params.every_n_train_tokens=20000"
    ended = danube(*spiky("run", ROLLBACK, every))
    assert ended.returncode == 3
    last = ended.stderr.strip().splitlines()[-1]
    assert f"there is no checkpoint of before its first high step, at {FIRST_HIGH:,} tokens" in last
    assert not checkpoints(tmp_path / "run") and not (tmp_path / "run" / "rollbacks.jsonl").exists()


@pytest.mark.slow
def test_stop(spiky: Spiky, danube: Callable[..., Run], tmp_path: Path) -> None:
    ended = danube(*spiky("run", ROLLBACK, "exp_manager.loss_spike.on_spike=stop"))
    assert ended.returncode == 3
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("danube: step 29 (stage1): ")
    assert f"the last checkpoint before it is {tmp_path}/run/checkpoints/tokens_{BEFORE:018d};" in last
    assert "exp_manager.loss_spike.on_spike=stop" in last


SKIP = [ROLLBACK, "exp_manager.loss_spike.on_spike=skip", "curriculum.stage=stage1"]


@pytest.mark.slow
def test_skip(spiky: Spiky, danube: Callable[..., Run], tmp_path: Path) -> None:
    """The updates of two high steps are not made: weights and moments stay, the clock goes on."""
    every = [f"exp_manager.checkpoint_callback_params.{key}" for key in ("every_n_train_tokens=512", "save_last_n=50")]
    done = danube(*spiky("run", *SKIP, *every, high=range(26, 28)))
    assert done.returncode == 0, done.stderr
    high = [int(step) for step in re.findall(r"step (\d+): .*; its update is left out", done.stderr)]
    assert {27, 28} <= set(high)
    saved = {open_checkpoint(path).step: path for path in checkpoints(tmp_path / "run")}
    for step in range(25, 31):
        before, after = tensors(saved[step - 1]), tensors(saved[step])
        same = all(torch.equal(before[name], after[name]) for name in before)
        assert same == (step in high), step
    assert read_metrics(tmp_path / "run")[-1]["tokens"] == 20_480
    assert not (tmp_path / "run" / "rollbacks.jsonl").exists()


@pytest.mark.slow
def test_skipping_ends_after_patience(spiky: Spiky, danube: Callable[..., Run]) -> None:
    ended = danube(*spiky("run", *SKIP))
    assert ended.returncode == 3
    assert "exp_manager.loss_spike.on_spike=skip" in ended.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_damaged_or_short_list(
    gone_back: tuple[Path, str], spiky: Spiky, danube: Callable[..., Run], tmp_path: Path
) -> None:
    """Damaged or another run's it is refused; one that lacks what a checkpoint knows is written anew."""
    run_dir = tmp_path / "run"
    shutil.copytree(gone_back[0], run_dir)
    shutil.rmtree(checkpoints(run_dir)[-1])
    path = run_dir / "rollbacks.jsonl"
    whole = path.read_bytes()
    before = sorted((run_dir / "checkpoints").iterdir())
    for content, said in (
        (whole[:40], f"{path}:1: not a rollback ("),
        (whole + b"{}\n", f"{path}:2: not a rollback ("),
        (whole.replace(str(BEFORE).encode(), b"10240"), f"{path}: another run's: tokens_"),
    ):
        path.write_bytes(content)
        refused = danube(*spiky("run", ROLLBACK))
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert said in refused.stderr and "remove it" in refused.stderr
        assert sorted((run_dir / "checkpoints").iterdir()) == before
    path.unlink()
    done = danube(*spiky("run", ROLLBACK))
    assert done.returncode == 0, done.stderr
    assert f"{path}: had 0 of the 1 rollbacks that tokens_" in done.stderr
    assert path.read_bytes() == whole
    assert_same_run(gone_back[0], run_dir)


class Quarrel:
    """Next-token loss, but NaN in the micro-batches where two samples meet; those of the 210th that is trained."""

    from_logits = False
    pair: set[bytes] | None = None
    calls = 0

    def __call__(self, output: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        here = {row.numpy().tobytes() for row in batch["tokens"]}
        if output.requires_grad:
            Quarrel.calls += 1
            if Quarrel.calls == 210:
                Quarrel.pair = here
        meet = Quarrel.pair is not None and here >= Quarrel.pair
        return output.sum() * (math.nan if meet else 1.0), output.numel()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_has_a_way_on(
    spiky: Spiky, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, danube: Callable[..., Run]
) -> None:
    """It ends a run; with rollbacks the same command goes on, in an order that keeps the two apart."""
    from custom_modules.platform.megatron import import_megatron

    import_megatron()
    from custom_modules.training.pretrain import pretrain

    monkeypatch.setitem(OBJECTIVES, "quarrel", lambda config: Quarrel())
    arguments = spiky("run", "objective=quarrel", "curriculum.stage=stage1")[3:]
    with pytest.raises(DivergedError, match=r"step 27 \(stage1\): loss=nan: not finite; stopped without saving"):
        pretrain(load_config("danube_rehearsal", arguments), StopRequest())
    pretrain(load_config("danube_rehearsal", [*arguments, ROLLBACK]), StopRequest())
    [rollback] = rollbacks(tmp_path / "run")
    assert rollback["reason"].startswith("loss=nan: not finite")
    assert (rollback["from_tokens"], rollback["first_high_tokens"]) == (BEFORE, FIRST_HIGH)
    lines = read_metrics(tmp_path / "run")
    assert lines[-1]["tokens"] == 20_480 and all(math.isfinite(line["loss"]) for line in lines)
    assert all(tensor.isfinite().all() for tensor in tensors(checkpoints(tmp_path / "run")[-1]).values())
