"""The plan of a DPO run: pairs, steps and the passes that its FLOPs are of."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

Danube = Callable[..., CompletedProcess[str]]


def plan(danube: Danube, *words: str, recipe: str = "danube_dpo") -> dict[str, float]:
    ended = danube("plan", "--config-name", recipe, "--json", "data.dir=nowhere", *words)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def test_the_reports_three_sets(danube: Danube) -> None:
    found = plan(danube)
    assert found["pairs"] == 61_135 + 12_859 + 2_418 == 76_412
    assert found["steps"] == 38_206
    assert found["adapter_parameters"] == 4_325_376


def test_flops_are_those_of_the_passes(danube: Danube) -> None:
    """Of a side of 512 tokens, by the numbers of the 1.8B: two passes forward, layers once more, and one backward."""
    found = plan(danube, "data.tokens_per_sample=1024", "--mfu", "0.5")
    layers = 24 * (2560 * (2560 + 2 * 640) + 2560 * 2560 + 3 * 2560 * 6912)
    head = 32_000 * 2560
    visible = sum(range(1, 513))
    attention = 24 * 4 * 2560 * visible
    a_side = 512 * 2 * (4 * layers + 3 * head) + 5 * attention
    assert found["flops"] == pytest.approx(76_412 * 2 * a_side, rel=1e-9)
    assert found["gpu_hours"] == pytest.approx(found["flops"] / (989.4e12 * 0.5) / 3600)
    less = plan(danube, "data.tokens_per_sample=1024", "model.activations_checkpoint_granularity=null")
    assert found["flops"] - less["flops"] == pytest.approx(76_412 * 2 * (512 * 2 * layers + attention), rel=1e-6)


def test_text_says_what_is_assumed(danube: Danube) -> None:
    ended = danube("plan", "--config-name", "danube_dpo_oasst2", "data.dir=nowhere")
    assert "assumed: data.sources' max_samples" in ended.stdout
    assert "at an MFU of 40%" in ended.stdout


def test_without_any_number_of_pairs(danube: Danube) -> None:
    words = ("data.dir=nowhere", "data.sources.orca_dpo_pairs.max_samples=null")
    ended = danube("plan", "--config-name", "danube_dpo", *words)
    assert ended.returncode == 2
    assert "nothing is prepared there" in ended.stderr
