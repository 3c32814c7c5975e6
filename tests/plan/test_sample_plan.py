"""The plan of a fine-tuning run: samples, steps, tokens and what they take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support.sft_samples import SAMPLES, SFT, write_conversations

Danube = Callable[..., CompletedProcess[str]]


def plan(danube: Danube, *words: str, recipe: str = "danube_sft") -> dict[str, Any]:
    ended = danube("plan", "--config-name", recipe, "--json", *words)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_the_reports_samples(danube: Danube) -> None:
    """Section 6.1: 157k samples, batches of 8, one epoch; the warm-up is a twentieth of it."""
    found = plan(danube, "data.dir=nowhere", "data.tokens_per_sample=1000")
    assert (found["samples"], found["steps"], found["last_batch"]) == (157_000, 19_625, 8)
    assert (found["total_tokens"], found["warmup_tokens"]) == (157_000_000, 7_850_000)
    assert found["parameters"] == 1_831_201_280


def test_flops_are_those_of_the_mean_sample(danube: Danube) -> None:
    found = plan(danube, "data.dir=nowhere", "data.tokens_per_sample=1000", "--mfu", "0.5")
    matrices = 24 * (2560 * (2560 + 2 * 640) + 2560 * 2560 + 3 * 2560 * 6912) + 32_000 * 2560
    attention = 24 * 4 * 2560 * sum(range(1, 1001))
    assert found["flops"] == 157_000 * (6 * matrices * 1000 + 3 * attention)
    assert found["gpu_hours"] == pytest.approx(found["flops"] / (989.4e12 * 0.5) / 3600)


def test_memory_is_that_of_the_longest_samples(danube: Danube) -> None:
    """As a pre-training stage of that length and micro-batch takes it, with nothing in FP8."""
    found = plan(danube, "data.dir=nowhere")["memory"]
    words = ("model.fp8=null", "model.micro_batch_size=1", "model.global_batch_tokens=131072")
    same = plan(danube, *words, "curriculum.stage=stage4", recipe="danube_1_8b")["stages"][-1]["memory"]
    assert found == same


def test_prepared_samples_are_counted(danube: Danube, prepared: Path, tmp_path: Path) -> None:
    data = write_conversations(tmp_path / "data", prepared / "tokenizer" / "tokenizer.model")
    entry = json.loads((data / "manifest.json").read_text())["splits"]["train"]
    found = plan(danube, *SFT, f"data.dir={data}", "trainer.max_epochs=2", recipe="danube_sft_rehearsal")
    assert (found["samples"], found["steps"], found["last_batch"]) == (SAMPLES, 26, SAMPLES % 8)
    assert found["total_tokens"] == 2 * entry["tokens"]


def test_what_does_not_fit_is_said_with_what_to_set(danube: Danube) -> None:
    words = ("data.dir=nowhere", "model.micro_batch_size=4", "trainer.devices=2", "--gpu", "H100")
    ended = danube("plan", "--config-name", "danube_sft", *words)
    assert "it will not fit" in ended.stdout
    assert "set model.activations_checkpoint_granularity=full" in ended.stdout
    assert "assumed: data.sources' max_samples" in ended.stdout


def test_without_any_number_of_samples(danube: Danube) -> None:
    words = ("data.dir=nowhere", "data.sources.oasst2.max_samples=null")
    ended = danube("plan", "--config-name", "danube_sft", *words)
    assert ended.returncode == 2
    assert "nothing is prepared there" in ended.stderr
