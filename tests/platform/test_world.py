"""Who a process is, from torchrun's or Slurm's environment."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.platform import Platform
from custom_modules.platform.environment import cuda_environment
from custom_modules.platform.launch import check_pod, free_port
from custom_modules.platform.world import Pod, World
from tests.support.commands import environment, start_danube
from tests.support.runs import read_metrics

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node7", "MASTER_PORT": "29500"}
SLURM = {
    "SLURM_PROCID": "9",
    "SLURM_NTASKS": "16",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "135456",
    "SLURM_STEP_NODELIST": "node1,node2",
}


def test_torchrun() -> None:
    assert World.from_environment(TORCHRUN) == World(3, 8, 1, "node7", 29500, "torchrun")


def test_slurm() -> None:
    assert World.from_environment(SLURM) == World(9, 16, 1, "node1", 10000 + 135456 % 20000, "slurm")
    given = {**SLURM, "MASTER_ADDR": "node5", "MASTER_PORT": "7000"}
    assert World.from_environment(given) == World(9, 16, 1, "node5", 7000, "slurm")


def test_the_port_of_a_restart_is_another_and_no_neighbours() -> None:
    ports = {
        World.from_environment({**SLURM, "SLURM_JOB_ID": str(job), "SLURM_RESTART_COUNT": str(restart)}).master_port
        for job in range(135_456, 135_466)
        for restart in range(10)
    }
    assert len(ports) == 100
    assert min(ports) >= 10_000 and max(ports) < 30_000


def test_one_task_alone_and_a_pod_of_kubernetes() -> None:
    """A shell under ``srun --pty`` is a task; PyTorchJob says no LOCAL_RANK, and a lone pod has nobody to meet."""
    shell = {**SLURM, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    assert not World.from_environment(shell).is_launched
    pod = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456"}
    assert World.from_environment(pod) == World(1, 2, 0, "job-master-0", 23456, "torchrun")
    assert not World.from_environment({"RANK": "0", "WORLD_SIZE": "1"}).is_launched


POD = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "PET_NPROC_PER_NODE": "2",
    "PET_NODE_RANK": "1",
    "PET_NNODES": "2",
    "MASTER_ADDR": "job-master-0",
    "MASTER_PORT": "23456",
}
"""What the training operator sets where a PyTorchJob has ``nprocPerNode``."""


def test_a_pod_that_starts_its_own_processes() -> None:
    assert Pod.from_environment(POD) == Pod(1, 2, 2, "job-master-0", 23456)
    assert Pod.from_environment({**POD, "LOCAL_RANK": "0"}) is None, "torchrun has started this one"
    assert Pod.from_environment({**POD, "PET_NPROC_PER_NODE": "1"}) is None
    assert Pod.from_environment({**POD, "PET_NPROC_PER_NODE": "auto"}) is None
    assert Pod.from_environment(TORCHRUN) is None
    with pytest.raises(UserError, match=r"trainer.devices=8, trainer.num_nodes=1: .* 2 pod\(s\) of 2 processes"):
        check_pod(Pod(1, 2, 2, "job-master-0", 23456), 8, 1)


@pytest.mark.parametrize(
    ("binding", "own"),
    [
        ({}, False),
        ({"SLURM_GPUS_ON_NODE": "1"}, False),
        ({"SLURM_GPUS_ON_NODE": "2"}, True),
    ],
)
def test_tasks_that_see_one_gpu_each(binding: dict[str, str], own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second task of a node: with a GPU of its own, or on a node that has one for both."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("custom_modules.platform.kernels_here", lambda config, accelerator: None)
    task = {**SLURM, **binding, "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS": "2"}
    config = load_config("danube_rehearsal", ["trainer.devices=2", "trainer.accelerator=gpu"])
    world = World.from_environment(task)
    if own:
        assert Platform.detect(config, world).device == torch.device("cuda", 0)
    else:
        with pytest.raises(UserError, match=r"trainer.devices=2: this node has 1 GPU\(s\), none for local rank 1"):
            Platform.detect(config, world)


def test_torchrun_inside_a_slurm_job() -> None:
    assert World.from_environment({**SLURM, **TORCHRUN}).source == "torchrun"


def test_a_batch_script_is_no_step() -> None:
    outside = {name: value for name, value in SLURM.items() if name != "SLURM_STEP_ID"}
    assert World.from_environment(outside) == World(0, 1, 0, "127.0.0.1", 0, "single")


@pytest.mark.parametrize("broken", [{"LOCAL_RANK": "x"}, {"MASTER_PORT": ""}])
def test_a_broken_environment_names_the_variable(broken: dict[str, str]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(broken))}={next(iter(broken.values()))}: .*torchrun or srun"):
        World.from_environment({**TORCHRUN, **broken})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer.devices=1", "model.fp8=null", "trainer.accelerator=gpu"],
            "trainer.accelerator=gpu: torch sees no GPU",
        ),
        (["trainer.devices=1", "trainer.accelerator=cpu"], "model.fp8=hybrid: needs an H100"),
        (["model.fp8=null", "trainer.accelerator=cpu"], "trainer.devices=8: .*single started 1"),
    ],
)
def test_what_the_platform_refuses(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Platform.detect(load_config("danube_1_8b", overrides), World.from_environment({}))


def test_a_plain_command_starts_one_node_only(
    danube: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    two_nodes = ["trainer.num_nodes=2", "model.micro_batch_size=1"]
    refused = danube("pretrain", "--config-name", "danube_rehearsal", *two_nodes, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("danube: trainer.num_nodes=2: start one process per device with srun")
    assert refused.stderr.count("\n") == 1


def test_torchrun_starts_the_same_program(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """What a launcher other than ours would do: two processes with torchrun's variables."""
    arguments = tiny("run", "trainer.devices=2", "curriculum.stages.stage1.tokens=1024", "curriculum.stage=stage1")
    port = str(free_port())
    common = {**environment(), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    workers = [
        start_danube(*arguments, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0], [worker.communicate()[1] for worker in workers]
    assert len(read_metrics(tmp_path / "run")) == 2


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], {}),
        (["model.tensor_model_parallel_size=2"], {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}),
        (["model.context_parallel_size=2"], {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}),
        (["model.context_parallel_size=2", "model.fsdp=true", "model.optim.grad_sync_dtype=bf16"], {}),
    ],
)
def test_what_cuda_finds_in_the_environment(overrides: list[str], expected: dict[str, str]) -> None:
    assert cuda_environment(load_config("danube_1_8b", overrides)) == expected
