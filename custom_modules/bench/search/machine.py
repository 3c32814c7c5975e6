"""The machine that a search stands on: what measurements are of, and what can be tried there."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from custom_modules.errors import UserError
from custom_modules.platform.driver import find_driver
from custom_modules.platform.requirements import MEGATRON, PROJECT, TRANSFORMER_ENGINE, installed
from custom_modules.programs import ask
from custom_modules.system import processor_name, usable_cores
from custom_modules.version import VERSION

TIMEOUT = 120.0
"""Seconds in which torch and Transformer Engine are imported, from a cold file server too."""


@dataclass(frozen=True)
class Machine:
    """Where steps are timed. Timings of another are none of this one."""

    accelerator: str
    """gpu or cpu."""
    chip: str
    """The GPU's name, or the processor's."""
    count: int
    """GPUs of the node, or cores that may be used."""
    memory_bytes: int
    """Of one GPU; on a CPU of the machine."""
    fp8_recipes: tuple[str, ...]
    """Those that the GPU and Transformer Engine have."""
    has_transformer_engine: bool
    versions: Mapping[str, str | None]
    """Of what computes, by name; None: not installed."""

    @property
    def device_name(self) -> str:
        """What `Platform.device_name` is there."""
        return self.chip if self.accelerator == "gpu" else "CPU"

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Machine:
        """Read what `dataclasses.asdict` made of one."""
        return cls(**{**plain, "fp8_recipes": tuple(plain["fp8_recipes"])})

    def differences(self, other: Machine) -> Iterator[str]:
        """Yield what of another machine is not as here, as ``what there (here what)``."""
        ours, theirs = _plain(self), _plain(other)
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                yield f"{name} {theirs.get(name)} (here {ours.get(name)})"


def _plain(machine: Machine) -> dict[str, Any]:
    """Return its fields, each version beside the others."""
    fields = {name: value for name, value in asdict(machine).items() if name != "versions"}
    return {**fields, **machine.versions}


def find_machine(accelerator: str) -> Machine:
    """Look. A GPU is asked by a process of its own, so that this one holds nothing of it.

    Args:
        accelerator: ``trainer.accelerator``.

    Raises:
        UserError: torch or the driver does not answer, or there is no GPU where one is asked for.
    """
    if accelerator == "cpu":
        return _cpu()
    answer = ask([sys.executable, "-m", __name__], TIMEOUT)
    if answer.problem:
        raise UserError(
            f"trainer.accelerator={accelerator}: torch cannot be asked for GPUs ({answer.problem}); see `danube doctor`"
        )
    plain = json.loads(answer.output.splitlines()[-1])
    if plain is None and accelerator == "gpu":
        raise UserError("trainer.accelerator=gpu: torch sees no GPU here; set trainer.accelerator=cpu to rehearse")
    return _cpu() if plain is None else Machine.read(plain)


def _versions() -> dict[str, str | None]:
    packages = {name: installed(name) for name in ("torch", MEGATRON, TRANSFORMER_ENGINE)}
    return {**packages, PROJECT: VERSION, "python": platform.python_version()}


def _cpu() -> Machine:
    return Machine(
        accelerator="cpu",
        chip=processor_name(),
        count=usable_cores(),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        fp8_recipes=(),
        has_transformer_engine=False,
        versions=_versions(),
    )


def _gpu() -> Machine | None:
    """Ask torch in this process; None where it sees no GPU."""
    import torch

    from custom_modules.platform.kernels import FP8_RECIPES, find_software

    if not torch.cuda.is_available():
        return None
    software = find_software("gpu")
    has_engine = software.transformer_engine is not None
    return Machine(
        accelerator="gpu",
        chip=torch.cuda.get_device_name(),
        count=torch.cuda.device_count(),
        memory_bytes=torch.cuda.get_device_properties(0).total_memory,
        fp8_recipes=tuple(sorted(FP8_RECIPES - software.fp8_problems.keys())) if has_engine else (),
        has_transformer_engine=has_engine,
        versions={**_versions(), "cuda": torch.version.cuda, "driver": find_driver(30.0).version},
    )


if __name__ == "__main__":
    found = _gpu()
    print(json.dumps(found and asdict(found)))
