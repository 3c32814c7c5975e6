"""Python packages: the project's own, megatron-core, Transformer Engine, Apex, DALI and lm-eval."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from typing import Literal

from custom_modules.doctor.finding import Finding, Needs
from custom_modules.doctor.gpu import Torch
from custom_modules.platform.apex import find_apex
from custom_modules.platform.requirements import (
    MEGATRON,
    TRANSFORMER_ENGINE,
    Requirement,
    install_transformer_engine,
    installed,
    project_requirements,
    requirement,
    transformer_engine_misfit,
    unmet,
)
from custom_modules.programs import ask, import_problem
from custom_modules.tasks.extra import EXTRA, missing_library

LM_EVAL = "lm-eval"
_HELPERS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("helpers_cpp", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


def check_packages() -> Iterator[Finding]:
    """Python and what ``pyproject.toml`` lists, but for those with a line of their own."""
    yield Finding("Python", f"{sys.version.split()[0]}, {sys.executable}")
    listed = [wanted for wanted in project_requirements() if wanted.name not in ("torch", MEGATRON)]
    problems = list(unmet([*listed, Requirement("packaging", "")]))
    if not problems:
        yield Finding("packages", f"{len(listed)} of {len(listed)}")
        return
    found = ", ".join(f"{wanted.name} {version or 'not installed'}" for wanted, version in problems)
    remedy = "pip install " + " ".join(f"'{wanted}'" for wanted, _ in problems)
    if any(version is None for _, version in problems):
        yield Finding("packages", found, "missing", remedy)
    else:
        yield Finding("packages", found, "wrong", remedy)


def check_megatron(needs: Needs) -> Iterator[Finding]:
    """Check its version, and whether the compiled helpers of its datasets load."""
    wanted, version = requirement(project_requirements(), MEGATRON), installed(MEGATRON)
    if version is None:
        yield Finding(MEGATRON, "not installed", "missing", f"pip install '{wanted}'")
        return
    if wanted.excludes(version):
        yield Finding(MEGATRON, version, "wrong", f"pip install '{wanted}'")
        return
    distribution = metadata.distribution(MEGATRON)
    helpers = [file for file in distribution.files or () if file.match("datasets/helpers_cpp*.so")]
    problem: str | None = "its wheel has none"
    if helpers:
        file = str(distribution.locate_file(helpers[0]))
        problem = ask([sys.executable, "-c", _HELPERS, file], needs.timeout).problem
    if problem:
        remedy = f"pip install --force-reinstall --no-deps '{wanted}', a wheel for this Python and machine"
        yield Finding(MEGATRON, f"{version}, dataset helpers: {problem}", "wrong", remedy)
    else:
        yield Finding(MEGATRON, f"{version}, dataset helpers load")


def check_transformer_engine(needs: Needs, torch: Torch) -> Iterator[Finding]:
    """Check that its version fits megatron-core's, and whether it imports."""
    version, remedy = installed(TRANSFORMER_ENGINE), install_transformer_engine(torch.cuda)
    absent = needs.without_transformer_engine
    if absent is None:
        remedy += ", or set model.fp8=null"
    if version is None:
        yield Finding("Transformer Engine", "not installed", "missing", remedy, absent)
    elif misfit := transformer_engine_misfit(version):
        yield Finding("Transformer Engine", misfit, "wrong", remedy, absent)
    elif problem := import_problem("torch, transformer_engine.pytorch", needs.timeout):
        yield Finding("Transformer Engine", f"{version}: {problem}", "wrong", remedy, absent)
    else:
        yield Finding("Transformer Engine", version)


def check_apex() -> Iterator[Finding]:
    """Say whose Apex it is. One that is not NVIDIA's is wrong on every machine, since megatron-core imports whatever
    has that name."""
    apex = find_apex()
    if apex is None:
        remedy = "nothing: Transformer Engine has what a run uses; not `pip install apex`, which is another package"
        yield Finding("Apex", "not installed", "missing", remedy, "beside Transformer Engine")
    elif apex.remedy is None:
        yield Finding("Apex", apex.found)
    else:
        absent = "beside Transformer Engine" if apex.is_nvidias else None
        yield Finding("Apex", apex.found, "wrong", apex.remedy, absent)


def check_dali(needs: Needs, torch: Torch) -> Iterator[Finding]:
    """Whether it is there and imports."""
    cuda = torch.cuda.partition(".")[0] if torch.cuda else "13"
    remedy, absent = f"pip install nvidia-dali-cuda{cuda}0", needs.without_dali
    if absent is None:
        remedy += ", or set data.loader=native"
    if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
        yield Finding("DALI", "not installed", "missing", remedy, absent)
    elif problem := import_problem("nvidia.dali", needs.timeout):
        yield Finding("DALI", problem, "wrong", remedy, absent)
    else:
        names = [dist.name for dist in metadata.distributions() if dist.name.startswith("nvidia-dali-cuda")]
        yield Finding("DALI", ", ".join(f"{name} {installed(name)}" for name in sorted(set(names))) or "imports")


def check_tasks(needs: Needs) -> Iterator[Finding]:
    """Whether what scores a run on tasks is there and imports."""
    absent = needs.without_tasks
    way = "" if absent else ", or set trainer.evaluate=null"
    if problem := missing_library():
        found, command = problem
        state: Literal["missing", "wrong"] = "missing" if "not installed" in found else "wrong"
        yield Finding(LM_EVAL, found, state, f"{command}, or 'danube-pretrain[{EXTRA}]'{way}", absent)
    elif broken := import_problem("lm_eval.api.task", needs.timeout):
        version = f"{installed(LM_EVAL)}: {broken}"
        yield Finding(LM_EVAL, version, "wrong", f"python -c 'import lm_eval.api.task' must work here{way}", absent)
    else:
        yield Finding(LM_EVAL, str(installed(LM_EVAL)))
