"""The program itself: its version, its place, and whether what a save, a resume and a conversion import is there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from custom_modules.doctor.finding import Finding, Needs
from custom_modules.doctor.gpu import Torch
from custom_modules.platform.requirements import MEGATRON, PROJECT, installed, project_requirements, requirement, unmet
from custom_modules.programs import ask
from custom_modules.version import VERSION


def check_program(needs: Needs, torch: Torch) -> Iterator[Finding]:
    """Import its modules where the packages that they are made with are there; what is not has lines of its own."""
    found = f"{VERSION} in {Path(__file__).resolve().parents[2]}"
    other = installed(PROJECT)
    if other != VERSION:
        found += f", {'not installed' if other is None else f'installed is {other}'}"
    missing = [wanted for wanted, version in unmet(project_requirements()) if version is None]
    engine, wanted = installed(MEGATRON), requirement(project_requirements(), MEGATRON)
    if missing or engine is None or wanted.excludes(engine) or not torch.imports:
        yield Finding("program", found)
        return
    answer = ask([sys.executable, "-m", "custom_modules.doctor.program_facts"], needs.timeout)
    facts = {} if answer.problem else json.loads(answer.output.splitlines()[-1])
    problems = facts.get("problems", [("its modules", answer.problem)])
    if not problems:
        yield Finding("program", f"{found}, {facts['modules']} modules import")
        return
    module, problem = problems[0]
    more = len(problems) - 1
    found += f": {module}: {problem}" + (f", and {more} more" if more else "")
    remedy = f"every save, resume and conversion needs it: python -c 'import {module}' must work here"
    if answer.problem:
        remedy = "every save, resume and conversion needs them: python -m custom_modules.doctor.program_facts must work"
    yield Finding("program", found, "wrong", remedy)
