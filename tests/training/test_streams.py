"""A run with two streams, teachers' rows and texts, and a batch that grows: killed, and on other devices."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import kills
from tests.support.commands import start_danube
from tests.support.runs import assert_same_run, checkpoints, read_metrics
from tests.support.taught import WITH_TEXTS, prepare_taught, write_rows
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
WORDS = [
    *TINY,
    *WITH_TEXTS,
    "model.rampup_batch_tokens=[128,128,5000]",
    "data.max_epochs=8",
    "trainer.log_every_n_tokens=1",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens=1000",
    "exp_manager.checkpoint_callback_params.save_last_n=20",
]


@pytest.mark.slow
def test_killed_and_on_another_number_of_devices(danube: Callable[..., Run], tmp_path: Path) -> None:
    """The same losses, bit for bit on the same devices; other streams or others' words are refused."""
    data = prepare_taught(tmp_path)

    def words(name: str, devices: int) -> list[str]:
        places = [f"data.dir={data}", f"exp_manager.exp_dir={tmp_path}", f"exp_manager.name={name}"]
        return ["pretrain", "--config-name", "danube_rehearsal", *WORDS, *places, f"trainer.devices={devices}"]

    whole = danube(*words("whole", 2))
    assert whole.returncode == 0, whole.stderr
    process = start_danube(*words("run", 2))
    assert process.stderr is not None
    for line in process.stderr:
        if re.search("stage1: phase 3 of ", line):
            break
    kills.kill(process)
    time.sleep(0.5)
    assert checkpoints(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "one")
    refused = danube(*words("run", 2), "distillation.every_n_batches=3")
    assert (refused.returncode, "distillation.every_n_batches: 4 -> 3; take them back" in refused.stderr) == (2, True)
    others = tmp_path / "others" / "data"
    shutil.copytree(data, others)
    write_rows(others, ("two", "one"))  # each says what the other did
    refused = danube(*words("run", 2), f"data.dir={others}")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "stage1 was trained on other data or other rows and texts of its teachers than" in refused.stderr
    resumed = danube(*words("run", 2))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    alone = danube(*words("one", 1))
    assert alone.returncode == 0, alone.stderr
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("whole", "one")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
