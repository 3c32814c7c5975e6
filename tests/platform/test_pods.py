"""Pods of a PyTorchJob, each with several processes of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import environment, free_ports, run_danube, start_danube
from tests.support.runs import assert_same_run

SHORT = ["curriculum.stages.stage1={tokens: 2048, encoder_seq_length: 32}", "~curriculum.stages.stage2"]


@pytest.mark.slow
def test_two_pods_train_as_one_node_does(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    alone = run_danube(*tiny("node", *SHORT, "trainer.devices=4"), cwd=tmp_path, timeout=240)
    assert alone.returncode == 0, alone.stderr
    [port] = free_ports(1)
    pods = [
        start_danube(
            *tiny("pods", *SHORT, "trainer.devices=2", "trainer.num_nodes=2"),
            cwd=tmp_path,
            env={
                **environment(),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": "4",
                "RANK": str(pod),
                "PET_NNODES": "2",
                "PET_NODE_RANK": str(pod),
                "PET_NPROC_PER_NODE": "2",
            },
            stdout=subprocess.DEVNULL,
        )
        for pod in range(2)
    ]
    errors = [pod.communicate(timeout=240)[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], errors
    assert_same_run(tmp_path / "node", tmp_path / "pods")
