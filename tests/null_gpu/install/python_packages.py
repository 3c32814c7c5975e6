"""The packages of an environment, from the registries that pip is set up for."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from pathlib import Path

from tests.null_gpu.environments import ROOT, Environment
from tests.null_gpu.install.problem import CannotBeMadeError, succeed

OF_THE_ENVIRONMENT = ("torch", "megatron-core", "transformer-engine")
"""Projects whose versions an `Environment` gives."""
BESIDE = ("pytest", "pytest-xdist", "hypothesis", "setuptools", "wheel", "ninja", "pybind11")
"""What the tests need, and the build of the extension."""
OF_TRANSFORMER_ENGINE = ("einops", "onnx", "onnxscript", "nvidia-cudnn-frontend")
"""What it imports or includes: itself it is installed without its dependencies, which would bring another torch."""
OF_TORCH = ("nvidia-", "cuda-", "triton")
"""How the names of those begin that a build of torch for CUDA asks for at one version."""

OF_CUDA = ("nvidia-cuda-runtime", "nvidia-cuda-crt", "nvidia-cuda-nvcc", "nvidia-cuda-cccl")


def make_venv(environment: Environment) -> None:
    """An interpreter of its own; one of an attempt before is made anew."""
    succeed([_python(environment), "-m", "venv", "--clear", environment.venv])


def _python(environment: Environment) -> str:
    """Return an interpreter that answers, pyenv's too: its shim is on the path of a Python that is not switched on."""
    versions = Path.home() / ".pyenv" / "versions"
    of_pyenv = sorted(versions.glob(f"{environment.python.removeprefix('python')}.*/bin/{environment.python}"))
    for candidate in (environment.python, *map(str, reversed(of_pyenv))):
        with suppress(CannotBeMadeError):
            succeed([candidate, "-c", ""])
            return candidate
    raise CannotBeMadeError(
        f"{environment.python}: not installed; it is what megatron-core {environment.megatron} needs"
    )


def install_torch(environment: Environment) -> None:
    """A build for CUDA, with NVIDIA's libraries and their headers."""
    _pip(environment, "install", f"torch=={environment.torch}")
    _cuda_version(environment)


def install_cuda(environment: Environment) -> None:
    """What no package that torch brings has: the compiler's headers, and nvcc, which is asked for its version."""
    cuda = _cuda_version(environment)
    _pip(environment, "install", "--no-deps", *(f"{name}=={cuda}.*" for name in OF_CUDA))


def _cuda_version(environment: Environment) -> str:
    """Return what torch is built for, such as 13.0."""
    version = succeed([environment.interpreter, "-c", "import torch; print(torch.version.cuda or '')"]).strip()
    if not version:
        raise CannotBeMadeError(f"torch=={environment.torch}: what pip finds is built for CPUs; take it from PyPI")
    return version


def wanted_packages(environment: Environment) -> str:
    """Return requirements, and constraints behind them, a line each."""
    return "\n".join([*_requirements(environment), "", *_constraints()])


def install_packages(environment: Environment) -> None:
    """What the project needs, without itself: it is run from its checkout."""
    environment.folder.mkdir(parents=True, exist_ok=True)
    constraints = environment.folder / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in [*_constraints(), f"torch=={environment.torch}"]))
    _pip(environment, "install", "--constraint", constraints, *_requirements(environment))


def _requirements(environment: Environment) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [line for line in project["dependencies"] if _name(line) not in OF_THE_ENVIRONMENT]
    return [*needed, f"megatron-core=={environment.megatron}", *BESIDE, *OF_TRANSFORMER_ENGINE]


def _constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    named = [(_name(line), line) for line in lines if line and line[0] != "#"]
    return [line for name, line in named if name not in OF_THE_ENVIRONMENT and not name.startswith(OF_TORCH)]


def install_transformer_engine(environment: Environment) -> None:
    """Install its Python code and the library of its kernels; the extension between the two is compiled here."""
    version = environment.transformer_engine
    _pip(environment, "install", "--no-deps", f"transformer-engine=={version}", f"transformer-engine-cu13=={version}")


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _pip(environment: Environment, *arguments: object) -> str:
    words = ["--quiet", "--disable-pip-version-check", *map(str, arguments)]
    return succeed([environment.interpreter, "-m", "pip", *words])
