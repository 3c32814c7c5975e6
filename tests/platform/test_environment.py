"""What CUDA and its libraries read when they start is in the environment before anything asks for a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import environment
from tests.support.tiny import TINY

TENSOR = ["model.tensor_model_parallel_size=2", "trainer.devices=2"]
RUN = [*TINY, *TENSOR, "trainer.deterministic=true"]
DETERMINISTIC = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0",
    "NCCL_ALGO": "Ring",
}
CONFIG = ["--config-name", "danube_rehearsal"]
COMMANDS = {
    "pretrain": ("danube", ["pretrain", *CONFIG, *RUN, "trainer.accelerator=auto"]),
    "pretrain on a GPU": ("danube", ["pretrain", *CONFIG, *RUN, "trainer.accelerator=gpu"]),
    "preflight": ("danube", ["preflight", *CONFIG, *RUN, "trainer.accelerator=gpu"]),
    "the trial save": ("trial save", ["danube_rehearsal", *RUN, "trainer.accelerator=gpu"]),
    "bench": ("danube", ["bench", *CONFIG, *RUN, "trainer.accelerator=gpu"]),
    "bench, started by bench": (
        "danube",
        ["bench", *CONFIG, "--stages=stage1", "--into=.", *RUN, "trainer.accelerator=gpu"],
    ),
}
LAUNCHED = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def first_seen(given: dict[str, str], folder: Path) -> dict[str, Any]:
    """Return for each command what the environment had."""
    unset = {name: value for name, value in environment().items() if name not in (*DETERMINISTIC, CUDA)}
    paths = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "tests.support.first_of_cuda", json.dumps(list(COMMANDS.values()))]
    done = subprocess.run(
        command, env={**unset, **paths, **LAUNCHED, **given}, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(COMMANDS, json.loads(done.stdout), strict=True))


CUDA = "CUDA_DEVICE_MAX_CONNECTIONS"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, {CUDA: "1", **DETERMINISTIC}), ({CUDA: "8"}, {CUDA: "8", **DETERMINISTIC})],
    ids=["unset", "set by the user"],
)
def test_before_a_command_asks_for_a_gpu(given: dict[str, str], expected: dict[str, str], tmp_path: Path) -> None:
    seen = first_seen(given, tmp_path)
    assert {name: found for name, found in seen.items() if found != expected} == {}
