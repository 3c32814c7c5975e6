"""`make test-gpu`'s tests on the null GPU: all that does not compare values passes, the rest is walked."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.null_gpu.environments import Environment
from tests.null_gpu.run import run_python

REASONS = ("values mean nothing on the null GPU", "NVIDIA DALI is not installed", "1 GPU here, two are needed")
"""Why a test may be skipped."""


def test_pass_or_are_walked(environment: Environment, print_figure: Callable[[str], None]) -> None:
    arguments = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "gpu", "-rs", "tests/gpu"]
    # One device: ranks of several would wait for each other, and hear nothing. Weights at full size are not copied.
    variables = {"NULL_GPU_DEVICES": "1", "NULL_GPU_LARGEST_COPY": str(1 << 20)}
    ended = run_python(environment, *arguments, gigabytes=16, seconds=3_000, variables=variables)
    skipped = [line for line in ended.output.splitlines() if line.startswith("SKIPPED")]
    for line in skipped:
        print_figure(line)
    assert ended.code == 0, ended.output[-8000:]
    assert re.search(r"\d+ passed", ended.output)
    assert [line for line in skipped if not any(reason in line for reason in REASONS)] == []
