"""The steps of an environment, from nothing to one that the null GPU runs in."""

from __future__ import annotations

from tests.null_gpu.environments import Environment
from tests.null_gpu.install import extension, library, python_packages
from tests.null_gpu.install.record import Step


def _versions(environment: Environment) -> str:
    return environment.transformer_engine


STEPS = (
    Step("venv", (), lambda environment: environment.python, python_packages.make_venv),
    Step("torch", ("venv",), lambda environment: environment.torch, python_packages.install_torch),
    Step("CUDA's compiler", ("torch",), lambda _: " ".join(python_packages.OF_CUDA), python_packages.install_cuda),
    Step("packages", ("venv",), python_packages.wanted_packages, python_packages.install_packages),
    Step("Transformer Engine", ("torch",), _versions, python_packages.install_transformer_engine),
    Step("its extension", ("CUDA's compiler",), _versions, extension.build_extension),
    Step("the null GPU", ("Transformer Engine",), library.sources_digest, library.build_library),
)
