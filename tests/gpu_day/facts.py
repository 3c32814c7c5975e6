"""What a GPU day runs on: chip, driver, versions and commit. Results of other facts are never put together."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.platform.driver import find_driver
from custom_modules.platform.requirements import MEGATRON, installed
from custom_modules.programs import ask
from custom_modules.version import VERSION
from tests.support.gpu import Machine

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 90.0
"""Seconds that torch and Transformer Engine have to be imported, from a cold file server too."""


@dataclass(frozen=True)
class Facts:
    """What the table says of the machine, as text."""

    size: str
    commit: str
    devices: tuple[str, ...]
    """Chips; none: a CPU rehearses."""
    driver: str | None
    python: str
    torch: str
    cuda: str | None
    cudnn: str | None
    nccl: str | None
    megatron_core: str | None
    transformer_engine: str | None
    """None: it cannot be used."""
    transformer_engine_problem: str | None

    def as_line(self) -> str:
        """One sentence of all, for the docs."""
        chips = f"{len(self.devices)} x {self.devices[0]}" if self.devices else "CPU, rehearsed"
        engine = self.transformer_engine or f"none ({self.transformer_engine_problem})"
        engine += "" if self.devices or not self.transformer_engine else " (the fake)"
        cuda = f" (CUDA {self.cuda}, cuDNN {self.cudnn}, NCCL {self.nccl})" if self.cuda else ""
        return (
            f"{chips}{f', driver {self.driver}' if self.driver else ''}; commit {self.commit}; Python {self.python}, "
            f"torch {self.torch}{cuda}, megatron-core {self.megatron_core}, Transformer Engine {engine}"
        )


def find_facts(machine: Machine, size: str) -> Facts:
    """Ask for them in a process of its own, so that this one holds nothing of the GPU.

    Raises:
        UserError: torch or its driver does not answer.
    """
    command = [*machine.python, "-m", "tests.gpu_day.facts", size]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=machine.environment, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"gpu-day: torch has not answered in {TIMEOUT:g} s; see `danube doctor`") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"gpu-day: torch cannot be asked ({last}); see `danube doctor`")
    return read_facts(json.loads(done.stdout.splitlines()[-1]))


def read_facts(plain: dict[str, object]) -> Facts:
    """Read what `dataclasses.asdict` made of them."""
    facts = {**plain, "devices": tuple(map(str, plain["devices"]))}  # type: ignore[call-overload]
    return Facts(**facts)  # type: ignore[arg-type]


def look(size: str) -> Facts:
    """Find them in this process."""
    import torch

    from custom_modules.platform.kernels import find_software

    software = find_software("gpu")
    has_gpu = torch.cuda.is_available()
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    return Facts(
        size=size,
        commit=_commit(),
        devices=tuple(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())) if has_gpu else (),
        driver=find_driver(30.0).version,
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cudnn=str(torch.backends.cudnn.version()) if has_gpu else None,
        nccl=".".join(map(str, torch.cuda.nccl.version())) if has_gpu and nccl else None,
        megatron_core=installed(MEGATRON),
        transformer_engine=software.transformer_engine,
        transformer_engine_problem=None if software.transformer_engine else software.transformer_engine_problem,
    )


def _commit() -> str:
    """Return the commit, with a hash of what is changed beside it; the version where there is no git."""
    head = ask(["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"], 10)
    if head.problem:
        return f"of version {VERSION}"
    changed = ask(["git", "-C", str(ROOT), "diff", "HEAD", "--", ":!*.md"], 10).output
    digest = hashlib.sha256(changed.encode()).hexdigest()[:8]
    return head.output.strip() + (f" with changes {digest}" if changed else "")


if __name__ == "__main__":
    print(json.dumps(asdict(look(sys.argv[1]))))
