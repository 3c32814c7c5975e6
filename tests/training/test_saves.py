"""What a save leaves: hashes that were taken while writing, and checkpoints to go back to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.run_folder.checkpoint_files import open_checkpoint
from tests.support import warm
from tests.support.commands import environment, free_ports
from tests.support.runs import checkpoints

Run = subprocess.CompletedProcess[str]
CALLBACK = "exp_manager.checkpoint_callback_params"

WATCHED = """
import sys
from custom_modules import cli

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".distcp") and arguments[1] in ("r", "rb"):
        print("read again:", arguments[0], file=sys.stderr, flush=True)

sys.addaudithook(hook)
raise SystemExit(cli.main(ARGUMENTS))
"""


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_no_process_reads_again_what_it_has_written(
    devices: int, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    arguments = tiny(
        "run", f"trainer.devices={devices}", "curriculum.stages.stage1.tokens=1024", "curriculum.stage=stage1"
    )
    (port,) = free_ports(1)
    place = {"WORLD_SIZE": str(devices), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        warm.Program(
            [sys.executable, "-c", WATCHED.replace("ARGUMENTS", repr(arguments))],
            env={**environment(), **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(devices)
    ]
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "read again" not in said
    [path] = checkpoints(tmp_path / "run")
    named = open_checkpoint(path).metadata["files"]  # which compares every hash
    assert {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} == {*named, "metadata.json"}
    assert len([name for name in named if name.endswith(".distcp")]) == devices


@pytest.mark.slow
def test_checkpoints_to_go_back_to(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    keep = [f"{CALLBACK}.every_n_train_tokens=512", f"{CALLBACK}.save_last_n=1"]
    done = danube(*tiny("run", "trainer.devices=1", *keep, f"{CALLBACK}.keep_every_n_tokens=2500"))
    assert done.returncode == 0, done.stderr
    assert [int(path.name[7:]) for path in checkpoints(tmp_path / "run")] == [2560, 5120, 7168, 7680, 10240]
    resumed = danube(*tiny("run", "trainer.devices=1", *keep))  # a run may go on without
    assert resumed.returncode == 0, resumed.stderr
    planned = danube("plan", *tiny("run", *keep, f"{CALLBACK}.keep_every_n_tokens=2500", "--json")[1:])
    kept = json.loads(planned.stdout)["checkpoints_kept"]
    assert kept >= 5
    checked = danube(
        "preflight", *tiny("other", "trainer.devices=1", *keep, f"{CALLBACK}.keep_every_n_tokens=2500")[1:]
    )
    found = re.search(r"needed for (\d+) more checkpoint", checked.stderr)
    assert found is not None and int(found[1]) == kept + 1


@pytest.mark.slow
def test_the_best_by_training_loss(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """Each checkpoint has the mean loss of the steps since the one before, in a run that went on from one, too.

    The plan has room for the best.
    """
    every = [f"{CALLBACK}.every_n_train_tokens=1024", "trainer.devices=1"]
    best = [f"{CALLBACK}.monitor=reduced_train_loss", f"{CALLBACK}.save_top_k=2"]
    for stage in ([], ["curriculum.stage=stage1"], ["curriculum.stage=stage2"]):
        name, last = ("two", 1) if stage else ("one", 99)
        done = danube(*tiny(name, *every, *best, *stage, f"{CALLBACK}.save_last_n={last}"))
        assert done.returncode == 0, done.stderr
    losses = [
        (point["tokens"], point["loss"])
        for point in map(json.loads, (tmp_path / "one" / "metrics.jsonl").read_text().splitlines())
        if point["kind"] == "train"
    ]
    every_one = [open_checkpoint(path) for path in checkpoints(tmp_path / "one")]
    before = 0
    for checkpoint in every_one:
        since = [loss for tokens, loss in losses if before < tokens <= checkpoint.consumed_tokens]
        before = checkpoint.consumed_tokens
        assert checkpoint.progress.reduced_train_loss == pytest.approx(sum(since) / len(since), rel=1e-6)
    of_last = [checkpoint for checkpoint in every_one if checkpoint.stage == "stage2"]
    least = sorted(of_last, key=lambda checkpoint: checkpoint.progress.reduced_train_loss or 0)[:2]
    expected = {every_one[-1].path.name, *(checkpoint.path.name for checkpoint in least)}
    expected |= {checkpoint.path.name for checkpoint in every_one if checkpoint.is_stage_end}
    kept = {path.name: open_checkpoint(path) for path in checkpoints(tmp_path / "two")}
    assert kept.keys() == expected
    for checkpoint in every_one:
        if other := kept.get(checkpoint.path.name):
            assert other.progress.reduced_train_loss == checkpoint.progress.reduced_train_loss
    planned = [
        json.loads(danube("plan", *tiny("run", *words, "--json")[1:]).stdout)["checkpoints_kept"]
        for words in ([], best)
    ]
    assert planned[1] == planned[0] + 2
