"""What does not fit ends in one line, whatever it is and whenever it comes, with advice that has it fit by the plan."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.memory import OUTSIDE_TORCH, fullest_device
from custom_modules.platform import Platform
from custom_modules.platform.kernels import Kernels
from custom_modules.platform.world import World
from custom_modules.training.out_of_memory import STATE, TASKS, NoRoomError, Room
from tests.support.commands import environment
from tests.support.runs import checkpoints

LIMITED = """
import itertools, resource, sys
from custom_modules.cli import main
from custom_modules.training.engine import Engine
name, number = sys.argv[1], int(sys.argv[2])
whole, called = getattr(Engine, name), 0
def limited(self, batches, stage, *more):
    global called
    called += stage.name == "stage2"
    if called == number:
        batches = itertools.chain([next(batches)], batches)  # which starts the loader's thread
        used = 4096 * int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + (150 << 20),) * 2)
    return whole(self, batches, stage, *more)
setattr(Engine, name, limited)
sys.exit(main(sys.argv[3:]))
"""
"""Leaves no room in a call of the second stage: torch's own allocator says so."""

LARGE = [
    *("trainer.devices=1", "trainer.dry_run=false", "model.micro_batch_size=4", "model.global_batch_tokens=1024"),
    *("curriculum.stages.stage1.tokens=1024", "curriculum.stages.stage2.tokens=3072", "model.ffn_hidden_size=20000"),
    *("curriculum.stages.stage2.encoder_seq_length=256", "trainer.limit_val_tokens=4096"),
    *("trainer.val_every_n_tokens=1000000", "exp_manager.checkpoint_callback_params.every_n_train_tokens=1000000"),
]
"""A step of the second stage takes hundreds of MB: more than the 150 that are left, for threads too."""
MICRO_BATCH = "4 x 256 tokens (model.micro_batch_size=4)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "nth", "code", "begins"),
    [
        ("train_step", 1, 2, f"{MICRO_BATCH} do not fit into the "),
        ("evaluate", 1, 2, f"validation of {MICRO_BATCH} do not fit into the "),
        ("train_step", 2, 74, f"{MICRO_BATCH} had room before, and memory ran out "),
    ],
)
def test_without_a_dry_run(
    what: str, nth: int, code: int, begins: str, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A later stage, its validation, and steps that had room before, which another start may have too."""
    command = [sys.executable, "-c", LIMITED, what, str(nth), *tiny("run", *LARGE)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"danube: stage2: {begins}") and "Traceback" not in done.stderr
    assert ("set curriculum.stages.stage2." in last) == (code == 2)
    assert checkpoints(tmp_path / "run"), "what was trained before is kept"


@pytest.mark.slow
def test_a_model_whose_weights_do_not_fit(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    words = tiny("run", "trainer.devices=1", "model.ffn_hidden_size=4000000000")
    limited = ["bash", "-c", 'ulimit -v 100000000; exec "$@"', "-", sys.executable, "-m", "custom_modules.cli", *words]
    done = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    size = "model.num_layers=2, model.hidden_size=32, model.optim.name=adamw"
    assert last.startswith(f"danube: stage1: the weights, the gradients and the optimizer's state ({size}) do not fit ")
    assert "no setting has it fit on trainer.devices=1" in last and "Traceback" not in done.stderr


@dataclass(frozen=True)
class Gpu(Platform):
    """A GPU of which only the size is known."""

    gib: float = 80.0

    @property
    def device_name(self) -> str:
        return f"a GPU of {self.gib:g} GiB"

    def device_bytes(self) -> int:
        return int(self.gib * 2**30)


def refusal(gib: float, overrides: list[str], error: Exception, what: str | None = None, resumed: bool = False) -> str:
    """Return what is said of danube_1_8b's last stage on a GPU of a size."""
    config = load_config("danube_1_8b", overrides)
    stage = Curriculum.from_config(config).stages[-1]
    gpu = Gpu("gpu", World.from_environment({}), Kernels(transformer_engine=True), gib)
    with pytest.raises(NoRoomError) as refused, Room(config, gpu, resumed).found(stage, what):
        raise error
    message = str(refused.value)
    assert message.startswith("stage4: ") and "\n" not in message
    return message


def ways(message: str) -> list[list[str]]:
    """Return the overrides of each way that a message names."""
    return [re.findall(r"[\w.]+=\S+", way) for way in message.rpartition("; set ")[2].split("; or ")]


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB.")


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("gib", [24, 32, 40, 48, 80])
@pytest.mark.parametrize("overrides", [["trainer.devices=1"], [], ["model.fp8=null", "model.micro_batch_tokens=65536"]])
@pytest.mark.parametrize("what", [None, STATE])
def test_advice_has_it_fit(what: str | None, overrides: list[str], gib: float, resumed: bool) -> None:
    """Each way is a config that fits by the plan, and that a run which goes on may have."""
    message = refusal(gib, overrides, FULL, what, resumed)
    if "no setting has it fit on trainer.devices=" in message:
        return
    room = gib * 2**30 - OUTSIDE_TORCH
    for way in ways(message):
        assert way, message
        config = load_config("danube_1_8b", [*overrides, *way])
        assert fullest_device(config, Curriculum.from_config(config).stages[-1]).total <= room
        assert not (resumed and any(word.startswith("model.optim.name") for word in way))


def test_small_gpus_have_ways_too() -> None:
    """One change is not enough for them; on no GPU of 16 GiB is there any for a whole model."""
    (way,) = ways(refusal(40, ["trainer.devices=1"], FULL))
    assert len(way) > 1
    assert "divide the model over more devices" in refusal(16, ["trainer.devices=1"], FULL)


def test_tasks_that_do_not_fit_can_be_left_out() -> None:
    message = refusal(80, [], FULL, TASKS)
    assert message.startswith("stage4: passes of trainer.evaluate's tasks do not fit into the ")
    assert message.endswith("; set trainer.evaluate=null, and give the run's checkpoints to `danube evaluate`")


def test_what_other_processes_hold_is_theirs_to_give_back() -> None:
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.00 GiB is "
        "free. Process 4242 has 70.25 GiB memory in use. Including non-PyTorch memory, this process has 7.00 GiB."
    )
    message = refusal(79.1, [], error, STATE)
    assert message.endswith(
        "; other processes have 70.2 GiB of it: end them (nvidia-smi lists them), or take another GPU"
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_the_memory_of_a_machine_with_gpus(error: Exception) -> None:
    message = refusal(80, [], error, STATE)
    assert "the memory of the machine ran out, not that of a GPU of 80 GiB" in message and "--mem" in message


def test_other_errors_pass() -> None:
    config = load_config("danube_1_8b", [])
    room, stage = Room(config, Platform("cpu", World.from_environment({}))), Curriculum.from_config(config).stages[0]
    for error in (RuntimeError("NCCL error"), OSError(5, "Input/output error")):
        with pytest.raises(type(error), match=str(error.args[-1])), room.found(stage):
            raise error
