"""Tests that need a GPU, and are skipped with the reason where there is none. `make test-gpu` runs them all.

On the null GPU (tests/null_gpu) a test marked ``values`` is only walked: what it compares no kernel has computed.

With ``DANUBE_REHEARSE_GPU_TESTS=1`` those that are not about the GPU itself run small on a CPU, beside the fake
Transformer Engine. It says nothing of a GPU, and keeps the tests themselves in order: tests/test_gpu_tests.py.
"""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from custom_modules.platform.kernels import find_software
from tests.fake_transformer_engine.danube import as_on_a_gpu
from tests.support.figures import print_figure as print_figure
from tests.support.gpu import HAS_GPU, NULL_GPU, ON_CPU, ON_GPU, REHEARSE, Machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rehearsed = bool(os.environ.get(REHEARSE)) and not HAS_GPU
    if rehearsed:
        as_on_a_gpu()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not HAS_GPU and (not rehearsed or item.get_closest_marker("needs_gpu")):
                item.add_marker(pytest.mark.skip(reason=f"no GPU: torch {torch.__version__} sees no CUDA device"))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    try:
        return (yield)
    except AssertionError as error:
        # A command that did not come to its end has failed, one that compares values itself has not.
        crashed = "Traceback" in str(error) or "guard: ended" in str(error)
        if not NULL_GPU or crashed or not pyfuncitem.get_closest_marker("values"):
            raise
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.name == pyfuncitem.originalname
        ]
        pytest.skip(f"walked to line {lines[-1]}: values mean nothing on the null GPU")


@pytest.fixture(scope="session")
def machine() -> Machine:
    return ON_GPU if HAS_GPU else ON_CPU


@pytest.fixture(scope="session")
def transformer_engine() -> None:
    """Skips what is about it where it cannot be used."""
    software = find_software("gpu")
    if software.transformer_engine is None:
        pytest.skip(f"no Transformer Engine: {software.transformer_engine_problem}")


@pytest.fixture(scope="session")
def danube(machine: Machine) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command on this machine to its end, which has to be a good one; returns its output."""

    # The null GPU's guard ends what takes too long there, by its CPU time: machines without a GPU are busy with others.
    timeout = None if NULL_GPU else 600

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*machine.program, *arguments], env=machine.environment, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run
