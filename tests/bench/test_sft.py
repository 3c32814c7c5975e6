"""Steps of fine-tuning are timed on the samples that the run begins with, or on random ones of the greatest length."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.sft import SftConfig
from custom_modules.data.conversations import Samples
from custom_modules.data.sample_steps import SampleSteps
from custom_modules.plan.flops import flops_per_sequence
from tests.support.sft_samples import LENGTH, SFT, write_conversations

Run = subprocess.CompletedProcess[str]
WARMUP, STEPS = 1, 14
"""The 13 steps of an epoch, and the first two again."""


@pytest.fixture(scope="module")
def chats(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chats") / "data"
    return write_conversations(folder, prepared / "tokenizer" / "tokenizer.model")


def measured(danube: Callable[..., Run], folder: Path, *words: str) -> dict[str, Any]:
    """Return the only row of a bench whose working directory stays empty."""
    done = danube("bench", "--config-name", "danube_sft_rehearsal", *SFT, "--json", *words, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [path for path in folder.iterdir() if "torchinductor" not in path.name] == []
    [row] = json.loads(done.stdout)["rows"]
    found: dict[str, Any] = row
    return found


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_prepared_samples(danube: Callable[..., Run], chats: Path, tmp_path: Path, devices: int) -> None:
    words = [f"data.dir={chats}", f"trainer.devices={devices}"]
    before = {path: path.read_bytes() for path in chats.rglob("*") if path.is_file()}
    row = measured(danube, tmp_path, *words, "--warmup", str(WARMUP), "--steps", str(STEPS))
    config = load_config("danube_sft_rehearsal", [*SFT, *words], kind=SftConfig)
    lengths = Samples(chats / "train").lengths
    epoch = list(SampleSteps(config, lengths).from_step(0))
    steps = [*epoch, *epoch][: WARMUP + STEPS]
    tokens = [sum(int(lengths[number]) for number in step.real_samples) for step in steps[WARMUP:]]
    samples = sum(len(step.real_samples) for step in steps[WARMUP:])
    figures = row["figures"]
    rates = [count / seconds for count, seconds in zip(tokens, figures["step_seconds"], strict=True)]
    assert figures["tokens_per_second"] == pytest.approx(median(rates))
    assert figures["slowest_tokens_per_second"] == pytest.approx(min(rates))
    assert figures["fastest_tokens_per_second"] == pytest.approx(max(rates))
    assert row["global_batch_tokens"] == round(sum(tokens) / len(tokens))
    assert row["seq_length"] == max(step.seq_length for step in steps)
    mean_length = round(sum(tokens) / samples)
    assert figures["flops_per_token"] == flops_per_sequence(config.model, mean_length) / mean_length
    assert (row["stage"], figures["data"], row["processes"]) == ("sft", "prepared", devices)
    assert {path: path.read_bytes() for path in chats.rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize("is_prepared", [False, True])
def test_random_samples(danube: Callable[..., Run], chats: Path, tmp_path: Path, is_prepared: bool) -> None:
    """All of the greatest length: what a step takes at most, of time and of memory."""
    where = [f"data.dir={chats}", "--random-tokens"] if is_prepared else ["data.dir=nothing"]
    row = measured(danube, tmp_path, *where, "trainer.devices=1", "--warmup", "0", "--steps", "2")
    assert row["figures"]["data"] == "random"
    assert row["global_batch_tokens"] == 8 * LENGTH and LENGTH - 1 <= row["seq_length"] <= LENGTH
    assert row["figures"]["memory_bytes"] > row["figures"]["planned_memory_bytes"] > 0


def test_a_stage_that_is_none(danube: Callable[..., Run]) -> None:
    done = danube("bench", "--config-name", "danube_sft_rehearsal", "--stages", "stage1")
    assert done.returncode == 2
    assert done.stderr == "danube: --stages stage1: no such stage; there are sft\n"


@pytest.mark.slow
def test_the_table(danube: Callable[..., Run], chats: Path) -> None:
    words = ["--config-name", "danube_sft_rehearsal", *SFT, f"data.dir={chats}", "trainer.devices=1"]
    done = danube("bench", *words, "--warmup", "0", "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert "sft: up to " in done.stdout and " tokens a step on average\n" in done.stdout
    assert "1 x CPU; prepared samples; 2 step(s) after 0 to warm up" in done.stdout
