"""Programs under the null GPU: in its environment, with the library preloaded, and ended where they grow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from tests.null_gpu.environments import ROOT, Environment
from tests.null_gpu.guard import Ended, run_guarded

IS_HERE = "NULL_GPU_IS_HERE"
"""Environment variable of programs that run under it."""
NO_LARGE_COPIES = {"NULL_GPU_LARGEST_COPY": "65536"}
"""Settings for models at full size: what is copied to the device takes memory of the host."""
GIGABYTES = 8
SECONDS = 600


def preloaded(environment: Environment, variables: Mapping[str, str]) -> dict[str, str]:
    """Variables of a program that finds the null GPU's devices, and whose engine ignores values."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "NULL_GPU"))}
    library = environment.library
    return {
        **kept,
        "LD_PRELOAD": str(library),
        "TRITON_LIBCUDA_PATH": str(library.parent),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "null_gpu" / "packages"), str(ROOT)]),
        "PATH": os.pathsep.join([str(environment.venv / "bin"), os.environ.get("PATH", "")]),
        "TRITON_CACHE_DIR": str(environment.folder / "cache" / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(environment.folder / "cache" / "inductor"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        IS_HERE: "1",
        **variables,
    }


def run_python(
    environment: Environment,
    *arguments: str,
    gigabytes: float = GIGABYTES,
    seconds: float = SECONDS,
    variables: Mapping[str, str] | None = None,
) -> Ended:
    """Run an environment's Python to its end."""
    command = [str(environment.interpreter), *arguments]
    return run_guarded(command, gigabytes * 1e9, seconds, preloaded(environment, variables or {}), ROOT)


def run_danube(environment: Environment, *arguments: str, variables: Mapping[str, str] | None = None) -> Ended:
    """Run the program's command."""
    return run_python(environment, "-m", "custom_modules.cli", *arguments, variables=variables)


def run_program(environment: Environment, name: str, request: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Run one of ``tests/null_gpu/programs``, which takes a JSON object and prints one.

    Raises:
        AssertionError: it failed; with what it said.
    """
    module = f"tests.null_gpu.programs.{name}"
    ended = run_python(environment, "-m", module, json.dumps(request), **options)
    assert ended.code == 0, ended.output[-8000:]
    return {**json.loads(ended.stdout.splitlines()[-1]), "host_bytes": ended.peak_bytes, "seconds": ended.seconds}
