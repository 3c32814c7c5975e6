"""One run over several layouts of processes and micro-batches: the same pairs, losses and gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.commands import run_danube
from tests.support.preferences import dpo_arguments
from tests.support.runs import checkpoints, read_metrics

LAYOUTS = {"1x4": (1, 1), "2x2": (1, 2), "4x1": (1, 4), "2 processes, 1x2": (2, 1), "2 processes, 2x1": (2, 2)}
"""Processes, and pairs of a micro-batch; of 4 pairs a step."""


def train(export: Path, pairs: Path, runs: Path, name: str, processes: int, micro: int, lr: str) -> Path:
    overrides = [
        "model.global_batch_size=4",
        f"model.micro_batch_size={micro}",
        f"trainer.devices={processes}",
        f"model.optim.lr={lr}",
        "model.peft.lora_tuning.adapter_dropout=0",
        "exp_manager.checkpoint_callback_params.every_n_train_samples=4",
        "exp_manager.checkpoint_callback_params.save_last_n=99",
    ]
    ended = run_danube(*dpo_arguments(export, pairs, runs, name, *overrides), timeout=600)
    assert ended.returncode == 0, ended.stderr
    return runs / name


def first_gradients(run_dir: Path) -> torch.Tensor:
    """Return those of the first step, which Adam's first mean is a tenth of."""
    state = torch.load(checkpoints(run_dir)[0] / "optimizer.pt", weights_only=True)["state"]
    return torch.cat([state[number]["exp_avg"].flatten() for number in sorted(state)]) * 10


@pytest.mark.slow
def test_layouts_agree(export: Path, pairs: Path, tmp_path: Path) -> None:
    """At a rate of nothing, so that every step's log-probabilities say which pairs it has had."""
    found = {
        name: train(export, pairs, tmp_path, f"run{number}", *layout, lr="1e-20")
        for number, (name, layout) in enumerate(LAYOUTS.items())
    }
    first, *others = found.values()
    gradients = first_gradients(first)
    assert gradients.norm() > 0
    for other in others:
        assert (first_gradients(other) - gradients).norm() <= 1e-5 * gradients.norm()
        for kind in ("train", "validation"):
            ours, theirs = read_metrics(first, kind), read_metrics(other, kind)
            assert [line["tokens"] for line in ours] == [line["tokens"] for line in theirs]
            for our, their in zip(ours, theirs, strict=True):
                assert our["loss"] == pytest.approx(their["loss"], rel=1e-6)
                assert our["preferences"] == pytest.approx(their["preferences"], rel=1e-5, abs=1e-6)
