"""Driver, GPUs, torch, and what torch brings of CUDA: the driver as it says itself, the rest as torch finds it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from custom_modules.doctor.finding import Finding, Needs
from custom_modules.platform.driver import DRIVER, Driver
from custom_modules.platform.requirements import installed, project_requirements, requirement
from custom_modules.programs import ask

FP8_CAPABILITY = (8, 9)
"""Transformer Engine refuses FP8 below it."""

_IN_A_CONTAINER = "in a container, start it with them (docker run --gpus all)"
_WITH_CUDA = "comes with PyPI's torch: pip install --force-reinstall torch"


@dataclass(frozen=True)
class Torch:
    """torch as it imports here."""

    version: str | None
    cuda: str | None
    """Version that it was built for."""
    cudnn: int | None
    nccl: str | None
    devices: tuple[tuple[str, str], ...]
    """Name and compute capability of those that ran a kernel."""
    problem: str | None

    @property
    def imports(self) -> bool:
        return self.cuda is not None or self.problem is None

    @property
    def without_cuda(self) -> str:
        """Why nothing of CUDA was found."""
        return "no torch" if self.version is None else "built for CPUs" if self.imports else "torch does not import"


def find_torch(timeout: float) -> Torch:
    """Import it in a process of its own, and run a kernel on every GPU."""
    if installed("torch") is None:
        return Torch(None, None, None, None, (), None)
    answer = ask([sys.executable, "-m", "custom_modules.doctor.torch_facts"], timeout)
    if answer.problem:
        return Torch(installed("torch"), None, None, None, (), answer.problem)
    facts = json.loads(answer.output.splitlines()[-1])
    return Torch(**{**facts, "devices": tuple((name, capability) for name, capability in facts["devices"])})


def check_driver(needs: Needs, driver: Driver) -> Iterator[Finding]:
    """The driver, then the GPUs."""
    absent = needs.without_gpu
    if driver.version is not None:
        yield Finding("driver", driver.version)
    else:
        found = "no version" if driver.problem else f"no {DRIVER}, no nvidia-smi that lists a GPU"
        yield Finding("driver", found, "missing", f"install NVIDIA's driver; {_IN_A_CONTAINER}", absent)
    if driver.problem:
        remedy = "nvidia-smi must list the GPUs: see dmesg for NVRM and Xid, and restart a node whose driver hangs"
        yield Finding("GPUs", f"nvidia-smi: {driver.problem}", "wrong", remedy, absent)
    elif driver.gpus:
        yield Finding("GPUs", ", ".join(f"{count} x {name}" for name, count in Counter(driver.gpus).items()))
    else:
        yield Finding("GPUs", "none", "missing", f"ask for GPUs (srun --gpus-per-node); {_IN_A_CONTAINER}", absent)


def check_torch(needs: Needs, driver: Driver, torch: Torch) -> Iterator[Finding]:
    """torch, CUDA, cuDNN and NCCL."""
    wanted = requirement(project_requirements(), "torch")
    if torch.version is None:
        yield Finding("torch", "not installed", "missing", f"pip install '{wanted}'")
    elif not torch.imports:
        remedy = f"pip install --force-reinstall '{wanted}'"
        yield Finding("torch", f"{torch.version}: {torch.problem}", "wrong", remedy)
    elif wanted.excludes(torch.version):
        yield Finding("torch", torch.version, "wrong", f"pip install '{wanted}'")
    else:
        yield Finding("torch", torch.version)
    yield _cuda(needs, driver, torch)
    cudnn = f"{torch.cudnn // 10000}.{torch.cudnn // 100 % 100}.{torch.cudnn % 100}" if torch.cudnn else None
    for name, version in (("cuDNN", cudnn), ("NCCL", torch.nccl)):
        if version:
            yield Finding(name, version)
        else:
            yield Finding(name, torch.without_cuda, "missing", _WITH_CUDA, needs.without_gpu)


def _cuda(needs: Needs, driver: Driver, torch: Torch) -> Finding:
    """Whether torch computes on as many GPUs as the run has, each of them able to do what the config asks."""
    if torch.cuda is None:
        return Finding("CUDA", torch.without_cuda, "missing", _WITH_CUDA, needs.without_gpu)
    found, remedy = f"{torch.cuda}, torch computes on {len(torch.devices)} GPU(s)", None
    config = needs.config
    too_old = sorted(
        {
            f"{name} ({capability})"
            for name, capability in torch.devices
            if tuple(map(int, capability.split("."))) < FP8_CAPABILITY
        }
    )
    if torch.problem or not torch.devices:
        found += f": {torch.problem}" if torch.problem else ""
        remedy = "install a driver for this CUDA, or a torch that is built for the driver's"
        if driver.version is None:
            remedy = "needs the driver"
    elif config and config.trainer.devices > len(torch.devices):
        found += f", trainer.devices={config.trainer.devices}"
        remedy = f"set trainer.devices={len(torch.devices)}, or see CUDA_VISIBLE_DEVICES"
    elif config and config.model.fp8 and too_old:
        found += f", no FP8 on {', '.join(too_old)}"
        remedy = f"FP8 needs compute capability {'.'.join(map(str, FP8_CAPABILITY))}: set model.fp8=null"
    return Finding("CUDA", found, "wrong", remedy, needs.without_gpu) if remedy else Finding("CUDA", found)
