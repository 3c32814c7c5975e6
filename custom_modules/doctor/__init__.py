"""`danube doctor`: what a run needs of this machine, what of it is there, and what to install.

Every check looks for itself, and nothing here may hang or be brought down by what it looks at: other programs, imports
and file systems are tried in processes of their own, with a time limit. Only the standard library is imported, so that
a machine on which nothing is installed yet is told so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from custom_modules.doctor.finding import Finding, Needs
from custom_modules.doctor.gpu import check_driver, check_torch, find_torch
from custom_modules.doctor.machine import check_disks, check_limits, check_shared_memory, check_synchronised
from custom_modules.doctor.packages import (
    check_apex,
    check_dali,
    check_megatron,
    check_packages,
    check_tasks,
    check_transformer_engine,
)
from custom_modules.doctor.program import check_program
from custom_modules.doctor.slurm import check_slurm
from custom_modules.platform.driver import Driver, find_driver
from custom_modules.threads import MANY, Once, in_threads

if TYPE_CHECKING:
    from custom_modules.config.schema import Config


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order of the table."""

    run: str
    """What they were judged for, such as ``a GPU run of danube_1_8b``."""
    accelerator: str
    """gpu or cpu."""
    findings: tuple[Finding, ...]

    @property
    def stops(self) -> tuple[Finding, ...]:
        """The findings that the run cannot do with."""
        return tuple(finding for finding in self.findings if finding.stops)


def examine(config: Config | None = None, gpu: bool = False, slurm: bool = False, timeout: float = 60.0) -> Diagnosis:
    """Look at everything.

    Args:
        config: what is to be run; None: anything.
        gpu: judge for a GPU; else as ``trainer.accelerator`` says, where auto is a GPU if nvidia-smi lists one. A
            config with FP8 is for a GPU, unless it says otherwise.
        slurm: Slurm is needed. It is inside a job, too.
        timeout: seconds that each program, import or folder has to answer.
    """
    torch = Once(lambda: find_torch(timeout))
    driver = find_driver(timeout)
    needs = Needs(config, gpu or _is_for_gpu(config, driver), slurm or "SLURM_JOB_ID" in os.environ, timeout)
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: check_driver(needs, driver),
        lambda: check_torch(needs, driver, torch()),
        check_packages,
        lambda: check_program(needs, torch()),
        lambda: check_megatron(needs),
        lambda: check_transformer_engine(needs, torch()),
        check_apex,
        lambda: check_dali(needs, torch()),
        lambda: check_tasks(needs),
        lambda: check_shared_memory(needs),
        lambda: check_disks(needs),
        lambda: check_limits(needs),
        lambda: check_synchronised(needs),
        lambda: check_slurm(needs),
    ]
    found = in_threads(lambda check: tuple(check()), checks, MANY)
    findings = [finding for group in found for finding in group]
    if config and config.model.fp8 and not needs.gpu:
        remedy = "FP8 needs a GPU: set model.fp8=null"
        findings.append(Finding("config", f"trainer.accelerator=cpu, model.fp8={config.model.fp8}", "wrong", remedy))
    accelerator = "gpu" if needs.gpu else "cpu"
    run = f"a {accelerator.upper()} run{f' of {config.name}' if config else ''}"
    return Diagnosis(f"{run} under Slurm" if needs.slurm else run, accelerator, tuple(findings))


def _is_for_gpu(config: Config | None, driver: Driver) -> bool:
    accelerator = config.trainer.accelerator if config else "auto"
    if accelerator == "auto":
        return bool(driver.gpus) or bool(config and config.model.fp8)
    return accelerator == "gpu"


def as_json(diagnosis: Diagnosis) -> str:
    """One JSON object: ``run``, ``accelerator``, ``ok`` and ``findings``, each with the fields of `Finding`."""
    return json.dumps({**asdict(diagnosis), "ok": not diagnosis.stops}, indent=2)


def render(diagnosis: Diagnosis) -> Iterator[str]:
    """The table, then what to do: first for this run, then for what it does without."""
    width = max(len(finding.check) for finding in diagnosis.findings)
    yield f"For {diagnosis.run}"
    for finding in diagnosis.findings:
        note = f" (not needed {finding.not_needed})" if finding.not_needed else ""
        state = finding.state.upper() if finding.stops else finding.state
        yield f"  {finding.check:<{width}}  {state:<7}  {finding.found}{note}"
    for title, chosen in (
        ("To do", diagnosis.stops),
        ("For other runs", [finding for finding in diagnosis.findings if finding.not_needed]),
    ):
        if chosen:
            yield title
        for finding in chosen:
            yield f"  {finding.check:<{width}}  {finding.remedy}"
