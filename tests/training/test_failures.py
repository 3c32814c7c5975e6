"""What goes wrong in a run ends in one line, and costs no work that was saved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import danube_command, environment, start_danube
from tests.support.small_disk import needs_small_disk, with_mounts

Run = subprocess.CompletedProcess[str]


def test_two_runs_on_one_folder(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    long = "curriculum.stages.stage1={tokens: 1000000, encoder_seq_length: 32}"
    first = start_danube(*tiny("run", "trainer.devices=1", long, "data.max_epochs=1000"))
    assert first.stderr is not None
    first.stderr.readline()
    second = danube(*tiny("run", "trainer.devices=1"))
    assert second.returncode == 2
    lines = second.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"danube: exp_manager.name: {tmp_path / 'run'} is in use by process {first.pid} on ")
    first.terminate()
    first.stderr.read()
    assert first.wait(timeout=60) == 75


def test_a_loss_that_is_not_finite(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    diverging = ["model.optim.lr=1e30", "model.optim.sched.min_lr=1e29", "model.optim.sched.warmup_tokens=0"]
    every_step = "exp_manager.checkpoint_callback_params.every_n_train_tokens=512"
    stopped = danube(*tiny("run", "trainer.devices=2", *diverging, every_step))
    assert stopped.returncode == 3
    last = stopped.stderr.strip().splitlines()[-1]
    saved = sorted((tmp_path / "run" / "checkpoints").glob("tokens_*"))
    steps = json.loads((saved[-1] / "metadata.json").read_text())["step"]
    assert last.startswith(f"danube: step {steps + 1} (stage1): ")
    assert "not finite; stopped without saving" in last
    assert last.endswith(str(saved[-1]))
    assert "Traceback" not in stopped.stderr


@needs_small_disk
@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_save(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """The run's folder is a small tmpfs, visible to the command and to what looks at it afterwards."""
    small = tmp_path / "small"
    small.mkdir()
    arguments = tiny("run", "trainer.devices=2", f"exp_manager.exp_dir={small}")
    script = f"""
        mount -t tmpfs -o size=1100k none {small}
        "$@"; echo "exit code $?"
        ls -A {small}/run/checkpoints
        mount -o remount,size=20m {small}
        "$@" 2>&1 | grep -E 'resuming|done'
    """
    done = with_mounts(script, *danube_command(*arguments))
    lines = done.stdout.splitlines()
    assert lines[0] == "exit code 2", done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith(f"danube: {small}/run/checkpoints/tokens_"), done.stderr
    assert "the disk is full (" in message
    assert "free some space; tokens_" in message
    assert "Traceback" not in done.stderr
    saved = [line for line in lines[1:] if line.startswith("tokens_")]
    assert len(saved) >= 1
    assert [line for line in lines if line.endswith(".partial")] == []
    assert f"resuming from {small}/run/checkpoints/{saved[-1]}" in lines[-2]
    assert "done: 10,240 tokens" in lines[-1]


@needs_small_disk
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kilobytes", "place"),
    [(4, ".danube.lock"), (12, "config.yaml"), (16, "tensorboard"), (24, "index_cache/"), (32, "index_cache/")],
)
def test_a_disk_that_is_full_before_the_first_step(
    kilobytes: int, place: str, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Wherever it fills up first: the lock, the config, TensorBoard's events, megatron-core's index files."""
    (tmp_path / "small").mkdir()
    boards = "exp_manager.create_tensorboard_logger=true"
    arguments = tiny("run", "trainer.devices=1", f"exp_manager.exp_dir={tmp_path / 'small'}", boards)
    script = f'mount -t tmpfs -o size={kilobytes}k none {tmp_path / "small"}; "$@"; echo "exit code $?"'
    done = with_mounts(script, *danube_command(*arguments))
    assert done.stdout == "exit code 2\n", done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"danube: {tmp_path / 'small/run' / place}")
    assert "No space left on device" in done.stderr or "requested and" in done.stderr
    assert "Traceback" not in done.stderr


@needs_small_disk
@pytest.mark.slow
@pytest.mark.parametrize(("boards", "place"), [("true", "tensorboard"), ("false", "metrics.jsonl")])
def test_a_disk_that_is_full_while_logging(
    boards: str, place: str, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    """It is filled once there is a checkpoint; that one is whole, and the run goes on from it."""
    small = tmp_path / "small"
    small.mkdir()
    options = [f"exp_manager.exp_dir={small}", f"exp_manager.create_tensorboard_logger={boards}"]
    options += [
        "exp_manager.checkpoint_callback_params.every_n_train_tokens=4096",
        f"trainer.val_every_n_tokens={10_000 if boards == 'true' else 512}",
    ]
    arguments = tiny("run", "trainer.devices=1", "curriculum.stage=stage1", *options)
    script = f"""
        mount -t tmpfs -o size=2m none {small}
        (until compgen -G "{small}/run/checkpoints/tokens*" > /dev/null; do sleep 0.005; done
         dd if=/dev/zero of={small}/fill bs=1k status=none) 2> /dev/null &
        "$@"; echo "exit code $?"
        rm {small}/fill
        "$@" 2>&1 | grep -E 'resuming|done'
    """
    done = with_mounts(script, *danube_command(*arguments))
    code, resumed, finished = done.stdout.splitlines()
    assert code == "exit code 2"
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"danube: {small}/run/{place}: No space left on device")
    assert "Traceback" not in done.stderr
    assert "4,096 tokens" in resumed
    assert "done: 7,168 tokens" in finished


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "--config-name", "danube_3b"], "danube: --config-name danube_3b: no danube_3b.yaml"),
        (["plan", "model.hiden_size=3"], "danube: model.hiden_size=3: no such key; did you mean model.hidden_size?"),
        (
            ["pretrain", "--config-name", "danube_rehearsal"],
            "danube: data.dir=data/danube_rehearsal: nothing is prepared",
        ),
        (["report", "nowhere"], "danube: nowhere"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, danube: Callable[..., Run], tmp_path: Path) -> None:
    refused = danube(*arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(message)
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""


def test_an_unknown_flag(danube: Callable[..., Run]) -> None:
    refused = danube("plan", "--confg-name", "danube_1_8b")
    assert refused.returncode == 2
    assert "unrecognized arguments" in refused.stderr


def test_a_process_on_its_way_out_keeps_its_exit_code() -> None:
    """srun sends SIGTERM to the others as soon as one rank has left, while Python is still shutting down."""
    program = """
import os, signal, sys
from custom_modules import cli
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)
late = Late()
sys.exit(cli.main(["pretrain", "--config-name", "nosuch"]))
"""
    place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "node1", "MASTER_PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**environment(), **place}, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
