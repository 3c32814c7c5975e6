"""Rollbacks over the border of two stages, inside a ramp, in bf16, and many in one process.

The losses that are not finite are an objective's, so that runs are short, and another process can go on without them.
"""

from __future__ import annotations

import gc
import json
import math
import shutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.objective import OBJECTIVES
from custom_modules.training.signals import StopRequest
from tests.support.runs import assert_same_run, checkpoints, read_metrics

SPIKES = "exp_manager.loss_spike={window: 16, patience: 3, floor: 0.6, max_rollbacks: 6}"
OFTEN = ["trainer.devices=1", "trainer.log_every_n_tokens=1", "exp_manager.checkpoint_callback_params.save_last_n=9"]


class Fails:
    """Next-token loss, but NaN in some of the micro-batches that are trained, counted from 1 of those of a length."""

    from_logits = False

    def __init__(self, seq_length: int, calls: set[int]) -> None:
        self.seq_length, self.calls = seq_length, calls
        self.count = 0
        self.elements: list[int] = []
        """Of all tensors of the process, at each NaN."""

    def __call__(self, output: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        self.count += output.requires_grad and output.shape[1] == self.seq_length
        if output.requires_grad and output.shape[1] == self.seq_length and self.count in self.calls:
            gc.collect()
            self.elements.append(sum(one.numel() for one in gc.get_objects() if type(one) is torch.Tensor))
            return output.sum() * math.nan, output.numel()
        return output.sum(), output.numel()


@pytest.fixture
def train(tiny: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Trains with an objective in this process."""
    from custom_modules.platform.megatron import import_megatron

    import_megatron()
    from custom_modules.training.pretrain import pretrain

    def run(name: str, objective: Fails, *overrides: str) -> None:
        monkeypatch.setitem(OBJECTIVES, "fails", lambda config: objective)
        arguments = tiny(name, *OFTEN, SPIKES, "objective=fails", *overrides)[3:]
        pretrain(load_config("danube_rehearsal", arguments), StopRequest())

    return run


def rollbacks(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "rollbacks.jsonl").read_text().splitlines()]


def assert_a_new_process_does_the_same(train: Callable[..., None], run_dir: Path, *overrides: str) -> None:
    """From the checkpoint that the last rollback went back to."""
    again = run_dir.with_name("again")
    shutil.copytree(run_dir, again)
    for path in checkpoints(again):
        if int(path.name.removeprefix("tokens_")) > rollbacks(run_dir)[-1]["from_tokens"]:
            shutil.rmtree(path)
    train("again", Fails(0, set()), *overrides)
    assert_same_run(run_dir, again)


@pytest.mark.slow
def test_many_rollbacks_over_the_border_of_a_stage(train: Callable[..., None], tmp_path: Path) -> None:
    """Six times at the first step of the second stage: twice to its begin, then further back into the first. No tensor
    of an attempt stays."""
    objective = Fails(64, {1, 5, 9, 13, 17, 21})
    train("run", objective)
    run_dir = tmp_path / "run"
    assert [one["from_tokens"] for one in rollbacks(run_dir)] == [7168, 7168, 6144, 4096, 2048, 2048]
    assert {(one["stage"], one["first_high_tokens"]) for one in rollbacks(run_dir)} == {("stage2", 7168)}
    lines = read_metrics(run_dir)
    assert [line["tokens"] for line in lines] == list(range(512, 7168 + 6 * 512 + 512, 512))
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert len(objective.elements) == 6
    assert max(objective.elements[1:]) <= objective.elements[1] * 1.01
    assert_a_new_process_does_the_same(train, run_dir)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("optimizer", ["adamw", "distributed_fused_adam"])
def test_inside_the_ramp(precision: str, optimizer: str, train: Callable[..., None], tmp_path: Path) -> None:
    """Batches follow from the tokens, there and back; weights, their fp32 copies and moments are the checkpoint's."""
    layout = [
        "model.rampup_batch_tokens=[128,128,5000]",
        "exp_manager.checkpoint_callback_params.every_n_train_tokens=1600",
        f"trainer.precision={precision}",
        f"model.optim.name={optimizer}",
    ]
    train("run", Fails(32, {45}), *layout)
    [rollback] = rollbacks(tmp_path / "run")
    assert 128 < rollback["from_tokens"] < rollback["first_high_tokens"] < 5000
    clock = [0, *(line["tokens"] for line in read_metrics(tmp_path / "run"))]
    assert all(after - before == min(512, 128 + 128 * (3 * before // 5000)) for before, after in pairwise(clock))
    assert_a_new_process_does_the_same(train, tmp_path / "run", *layout)
