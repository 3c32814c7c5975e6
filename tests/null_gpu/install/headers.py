"""Where C and C++ find the headers of CUDA: in NVIDIA's packages, whatever else is on the machine."""

from __future__ import annotations

import os
from pathlib import Path

from tests.null_gpu.environments import Environment

LIBRARIES = (
    *("cu13/include", "cu13/include/cccl"),
    *("cudnn/include", "nccl/include", "nvshmem/include", "cusparselt/include"),
)


def include_folders(environment: Environment) -> list[Path]:
    packages = environment.site_packages
    folders = [packages / "nvidia" / name for name in LIBRARIES] + [packages / "include"]
    return [folder for folder in folders if folder.is_dir()]


def compiler_environment(environment: Environment) -> dict[str, str]:
    """Variables under which gcc looks there, and under which a build finds this environment's tools."""
    binaries = str(environment.venv / "bin")
    return {
        **os.environ,
        "CPATH": os.pathsep.join(map(str, include_folders(environment))),
        "CUDA_HOME": str(environment.site_packages / "nvidia" / "cu13"),
        "PATH": os.pathsep.join([binaries, os.environ.get("PATH", "")]),
    }
