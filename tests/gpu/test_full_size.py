"""Danube-1.8B on one GPU: tokens/s are printed, and memory is what the plan says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from custom_modules.platform.kernels import find_software
from tests.support.gpu import Machine

Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def rows(machine: Machine, danube: Callable[..., Run], print_figure: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure bf16 and FP8 by `danube bench`, in the first stage and the last, which is the one that has to fit."""
    chosen = machine.variants if find_software(machine.accelerator).transformer_engine else machine.variants[:1]
    variants = [word for variant in chosen for word in ("--variant", variant)]
    done = danube(
        "bench", *machine.full_size, machine.here, *variants, "--random-tokens", "--json", "--warmup=2", "--steps=3"
    )
    rows = json.loads(done.stdout)["rows"]
    for row in rows:
        figures = row["figures"]
        if figures is None:
            print_figure(f"{row['stage']}, {row['variant']}: {row['problem']}")
            continue
        print_figure(
            f"{row['stage']}, {row['variant']}: {figures['tokens_per_second_per_device']:,.0f} tokens/s on "
            f"{figures['device']}, {figures['tflops_per_device']:.0f} TFLOP/s, MFU {figures['mfu'] or 0:.1%}, "
            f"{figures['memory_bytes'] / 2**30:.1f} GiB ({figures['memory_difference']:+.1%} of the plan), "
            f"loader {figures['loader_share']:.2%}"
        )
    return rows


def test_every_stage_runs(rows: list[dict[str, Any]]) -> None:
    assert rows
    assert [row["problem"] for row in rows if row["problem"]] == []


@pytest.mark.needs_gpu
def test_peak_memory_is_the_plans(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert abs(row["figures"]["memory_difference"]) <= 0.15, (row["stage"], row["variant"])
