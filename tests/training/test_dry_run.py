"""A dry run says what each stage takes, refuses what does not fit, and leaves no trace in the run after it."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker

from custom_modules.errors import UserError
from custom_modules.platform import Platform
from custom_modules.training.dry_run import dry_run
from tests.fake_transformer_engine.start import danube_as_on_a_gpu
from tests.support.commands import environment
from tests.support.engines import small
from tests.support.runs import assert_same_run, checkpoints
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
SHORT = ["curriculum.stages.stage1.tokens=2048", "curriculum.stages.stage2.tokens=1024"]
"""Four steps at length 32, two at 64."""

ON, OFF = "trainer.dry_run=true", "trainer.dry_run=false"
LINE = re.compile(r"dry run of (\w+): ([\d.]+) GiB on the fullest device, by the plan ([\d.]+)")
PAIR = "trainer.devices=2"
PIPELINE = [PAIR, "model.num_layers=4", "model.pipeline_model_parallel_size=2"]
LAYOUTS = {
    "alone": ["trainer.devices=1"],
    "bf16": ["trainer.devices=1", "trainer.precision=bf16-mixed"],
    "distributed": [PAIR, "model.optim.name=distributed_fused_adam"],
    "distributed-bf16": [PAIR, "model.optim.name=distributed_fused_adam", "trainer.precision=bf16-mixed"],
    "fsdp": [PAIR, "model.fsdp=true"],
    "pipeline": PIPELINE,
    "virtual-pipeline": [*PIPELINE, "model.virtual_pipeline_model_parallel_size=2"],
    "context": [PAIR, "model.context_parallel_size=2"],
}
SLOW = [name for name in LAYOUTS if name not in ("alone", "distributed")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LAYOUTS]
)
def test_the_run_after_it_is_the_one_without_it(
    layout: str, danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Bit for bit, also one that is stopped halfway and goes on, with a dry run of what is left."""
    words = [*SHORT, *LAYOUTS[layout], "exp_manager.checkpoint_callback_params.every_n_train_tokens=512"]
    without, dry = danube(*tiny("without", *words, OFF)), danube(*tiny("dry", *words, ON))
    assert (without.returncode, dry.returncode) == (0, 0), without.stderr + dry.stderr
    assert not LINE.search(without.stderr)
    assert [found[0] for found in LINE.findall(dry.stderr)] == ["stage1", "stage2"]
    assert dry.stderr.index("dry run of stage2") < dry.stderr.index("step 1 ")
    assert_same_run(tmp_path / "without", tmp_path / "dry")
    shutil.copytree(tmp_path / "without", tmp_path / "resumed")
    shutil.rmtree(checkpoints(tmp_path / "resumed")[-1])
    resumed = danube(*tiny("resumed", *words, ON))
    assert resumed.returncode == 0, resumed.stderr
    assert [found[0] for found in LINE.findall(resumed.stderr)] == ["stage2"]
    assert_same_run(tmp_path / "without", tmp_path / "resumed")


@pytest.mark.slow
def test_fp8_histories_are_put_back(prepared: Path, tmp_path: Path) -> None:
    """They are, in a run begun anew and in one that goes on, with Transformer Engine's interface."""

    def command(name: str, *overrides: str) -> list[str]:
        folders = [f"data.dir={prepared}", f"exp_manager.exp_dir={tmp_path}", f"exp_manager.name={name}"]
        fp8 = ["trainer.precision=bf16-mixed", "model.fp8=hybrid", "trainer.devices=1"]
        return ["pretrain", "--config-name", "danube_rehearsal", *TINY, *folders, *SHORT, *fp8, *overrides]

    danube_as_on_a_gpu(
        *[command("without", OFF), command("dry", ON)],
        *[command("resumed", OFF, "curriculum.stage=stage1"), command("resumed", ON)],
    )
    assert_same_run(tmp_path / "without", tmp_path / "dry")
    assert_same_run(tmp_path / "without", tmp_path / "resumed")


def draw() -> list[float]:
    """A number of every random generator there is."""
    with get_cuda_rng_tracker().fork():
        tracked = torch.rand(1).item()
    return [random.random(), float(np.random.rand()), torch.rand(1).item(), tracked]


def test_all_of_a_rank_is_put_back(single_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, gradients, random state, no moments left behind; even where a pass draws random numbers."""
    said: list[Any] = []
    drawn: list[Any] = []
    model = small("trainer.precision=bf16-mixed")
    engine, weights = model.engine, model.weights()
    forward_backward = engine.forward_backward

    def drawing(batches: Any, stage: Any, count: int) -> Any:
        drawn.append(draw())
        return forward_backward(batches, stage, count)

    monkeypatch.setattr(engine, "forward_backward", drawing)
    dry_run(engine, model.stages, Platform.detect(engine.config), 0, said.append)
    assert len(drawn) == 2 and draw() == drawn[0]
    assert all(torch.equal(weight, weights[name]) for name, weight in model.weights().items())
    assert all(not parameter.main_grad.any() for parameter in engine.chunks[0].parameters())
    assert not engine.optimizer.optimizer.state
    assert [LINE.match(line)[1] for line in said] == ["stage1", "stage2"]  # type: ignore[index]


def test_what_does_not_fit_is_refused_with_remedies(single_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a device has room for the first stage and not for the second."""
    model = small()
    first, second = model.stages
    forward_backward = model.engine.forward_backward

    def full_in_the_second(batches: Any, stage: Any, count: int) -> Any:
        if stage is second:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 79 GiB.")
        return forward_backward(batches, stage, count)

    monkeypatch.setattr(model.engine, "forward_backward", full_in_the_second)
    said: list[str] = []
    with pytest.raises(UserError) as refused:
        dry_run(model.engine, model.stages, Platform.detect(model.engine.config), 0, said.append)
    message = str(refused.value)
    assert message.startswith(f"{second.name}: {second.micro_batch_size} x {second.seq_length} tokens")
    assert "the plan counts" in message and "Tried to allocate 2.00 GiB" in message
    assert "curriculum.stages.stage2.micro_batch_size=1" in message and "\n" not in message
    assert len(said) == 1 and first.name in said[0]


LIMITED = """
import resource, sys
from custom_modules.cli import main
from custom_modules.training import dry_run
passed = dry_run._pass
def limited(engine, stage):
    if stage.name == "stage2":
        used = 4096 * int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20),) * 2)
    passed(engine, stage)
dry_run._pass = limited
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_full_machine_ends_the_command_in_one_line(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """No room is left for the second stage: torch's own allocator says so."""
    large = ["model.micro_batch_size=16", "model.global_batch_tokens=4096"]
    words = tiny("run", ON, "trainer.devices=1", *SHORT, "curriculum.stages.stage2.encoder_seq_length=256", *large)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *words], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("danube: stage2: ") and "allocate" in last
    assert "curriculum.stages.stage2." in last
    assert not checkpoints(tmp_path / "run")


@pytest.mark.slow
def test_it_may_change_on_resume_and_is_off_on_a_cpu(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    first = danube(*tiny("run", *SHORT, "trainer.devices=1", "curriculum.stage=stage1"))
    assert first.returncode == 0 and not LINE.search(first.stderr)
    saved = json.loads((checkpoints(tmp_path / "run")[-1] / "metadata.json").read_text())
    assert saved["config"]["trainer"]["dry_run"] == "auto"
    second = danube(*tiny("run", *SHORT, "trainer.devices=1", ON))
    assert second.returncode == 0, second.stderr
    assert [found[0] for found in LINE.findall(second.stderr)] == ["stage2"]
