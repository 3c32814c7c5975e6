"""`make test-gpu`'s tests on the null GPU: all that does not compare values passes, the rest is walked."""

from __future__ import annotations

import re

from tests.null_gpu.environments import Environment
from tests.null_gpu.run import run_python


def test_pass_or_are_walked(environment: Environment, print_figure) -> None:  # type: ignore[no-untyped-def]
    arguments = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "gpu", "-rs", "tests/gpu"]
    # One device: ranks of several would wait for each other, and hear nothing. Weights at full size are not copied.
    variables = {"NULL_GPU_DEVICES": "1", "NULL_GPU_LARGEST_COPY": str(1 << 20)}
    ended = run_python(environment, *arguments, gigabytes=16, seconds=2_400, variables=variables)
    for line in ended.output.splitlines():
        if re.match(r"SKIPPED|.*\d+ passed", line):
            print_figure(line)
    assert ended.code == 0, ended.output[-8000:]
    reasons = [line for line in ended.output.splitlines() if line.startswith("SKIPPED")]
    allowed = ("values mean nothing on the null GPU", "NVIDIA DALI is not installed", "1 GPU here, two are needed")
    assert [line for line in reasons if not any(reason in line for reason in allowed)] == []
    assert "signatures" in ended.output or "passed" in ended.output
