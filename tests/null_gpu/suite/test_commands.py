"""The program's commands, as on an H100: doctor, pretrain, its resume, and the way to Hugging Face."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.gpu_day.parts import PARTS
from tests.gpu_day.results import read_results
from tests.null_gpu.environments import Environment
from tests.null_gpu.guard import Ended
from tests.null_gpu.run import run_danube, run_python
from tests.null_gpu.suite.training import ON_CPU, ON_GPU, SHAPE, STEPS, train
from tests.support.runs import checkpoints, read_metrics

KINDS = {
    "bf16": [],
    "delayed": ["model.fp8=hybrid"],
    "tensorwise": ["model.fp8=hybrid", "model.fp8_recipe=tensorwise"],
    "blockwise": ["model.fp8=hybrid", "model.fp8_recipe=blockwise"],
    "distributed_fused_adam": ["model.fp8=hybrid", "model.optim.name=distributed_fused_adam"],
    "fsdp": ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16"],
    "fp32": ["trainer.precision=32-true"],
}
OPTIMIZERS = {
    "adamw": [],
    "distributed_fused_adam": ["model.optim.name=distributed_fused_adam"],
    "fsdp": ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16"],
}
COMPARED = {"logits": "error of bf16 logits", "bf16": "nothing is learned", "export": "is no match for that model"}
"""Part of a GPU day -> what it says of values that no kernel has computed."""


@pytest.fixture
def pretrain(environment: Environment, data: Path, tmp_path: Path) -> Callable[..., Ended]:
    """Trains ``tmp_path / "run"``, or goes on with it."""
    return partial(train, environment, data, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_pretrain_resume_and_convert(
    environment: Environment, pretrain: Callable[..., Ended], kind: str, tmp_path: Path
) -> None:
    pretrain(ON_GPU, *KINDS[kind], "curriculum.stage=stage1")
    assert "resuming from" in pretrain(ON_GPU, *KINDS[kind]).stderr
    run = tmp_path / "run"
    assert [line["step"] for line in read_metrics(run)] == list(range(1, STEPS + 1))
    assert checkpoints(run)
    export = tmp_path / "export"
    ended = run_danube(environment, "convert", "to-hf", str(run), str(export))
    assert ended.code == 0, ended.output[-8000:]
    assert json.loads((export / "config.json").read_text())["hidden_size"] == 256


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_moves_between_a_cpu_and_a_gpu(pretrain: Callable[..., Ended], optimizer: str, tmp_path: Path) -> None:
    """Each part goes on from the other's checkpoint, under the same layout."""
    overrides = OPTIMIZERS[optimizer]
    pretrain(ON_CPU, *overrides, "curriculum.stage=stage1")
    assert "resuming from" in pretrain(ON_GPU, *overrides, "curriculum.stage=stage2").stderr
    assert "resuming from" in pretrain(ON_CPU, *overrides, "curriculum.stage=stage3").stderr
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == list(range(1, STEPS + 1))


def test_a_gpu_day_comes_to_its_end(environment: Environment, tmp_path: Path) -> None:
    """Every part; those that compare values stop at the comparison."""
    words = ["-m", "tests.gpu_day", "--size=tiny", "--budget=2400", f"--folder={tmp_path / 'day'}"]
    ended = run_python(environment, *words, seconds=2_500, variables={"NULL_GPU_DEVICES": "1"})
    results = {result.part: result for result in read_results(tmp_path / "day")[1]}
    assert list(results) == [part.name for part in PARTS], ended.output[-8000:]
    for name, result in results.items():
        compared = result.outcome == "failed" and re.search(COMPARED.get(name, "$^"), result.found)
        assert result.outcome == "passed" or compared, (result, ended.output[-8000:])


def test_doctor(environment: Environment) -> None:
    # Each program that it asks has its time by the clock, and a machine without a GPU may be busy.
    words = ["--json", "--timeout=600", "--config-name", "danube_1_8b", "trainer.devices=8"]
    ended = run_danube(environment, "doctor", *words)
    found = {finding["check"]: finding for finding in json.loads(ended.stdout)["findings"]}
    for name in ("torch", "CUDA", "cuDNN", "NCCL", "Transformer Engine"):
        assert found[name]["state"] == "ok", found[name]
    assert "8 GPU(s)" in found["CUDA"]["found"]
    assert environment.transformer_engine in found["Transformer Engine"]["found"]


def test_a_gpu_that_is_too_small_says_so(environment: Environment, pretrain: Callable[..., Ended], data: Path) -> None:
    """Before the first step, in a line."""
    folders = [f"data.dir={data}", "exp_manager.name=too_small"]
    overrides = [
        *SHAPE,
        ON_GPU,
        "model.hidden_size=2048",
        "model.ffn_hidden_size=8192",
        "trainer.dry_run=true",
        *folders,
    ]
    ended = run_danube(
        environment,
        "pretrain",
        "--config-name",
        "danube_rehearsal",
        *overrides,
        variables={"NULL_GPU_MEMORY": str(2 * 10**9)},
    )
    assert ended.code not in (0, 137), ended.output[-8000:]
    assert "Traceback" not in ended.stderr
