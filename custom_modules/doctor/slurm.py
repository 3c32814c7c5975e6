"""Slurm: whether its commands are there, whether it answers, and whether it starts containers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from custom_modules.doctor.finding import Finding, Needs
from custom_modules.programs import ask

COMMANDS = ("sbatch", "srun", "scontrol", "sinfo", "squeue")
"""What slurm/ and `danube status` call."""


def check_slurm(needs: Needs) -> Iterator[Finding]:
    """Slurm, then pyxis where Slurm answers."""
    absent = None if needs.slurm else "outside Slurm"
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if len(missing) == len(COMMANDS):
        yield Finding("Slurm", "not installed", "missing", "apt-get install slurm-client, and its slurm.conf", absent)
        return
    if missing:
        remedy = f"install Slurm's client commands whole; {', '.join(missing)} must be on PATH"
        yield Finding("Slurm", f"no {', '.join(missing)}", "wrong", remedy, absent)
        return
    answer = ask(["sinfo", "--noheader", "--summarize", "--format=%P"], needs.timeout)
    if answer.problem:
        remedy = "sinfo must list the partitions: see slurm.conf (SLURM_CONF), munge and slurmctld"
        yield Finding("Slurm", f"sinfo: {answer.problem}", "wrong", remedy, absent)
        return
    yield Finding("Slurm", f"answers, partitions {', '.join(answer.output.split()) or 'none'}")
    containers = ask(["srun", "--help"], needs.timeout)
    if "--container-image" in containers.output:
        yield Finding("pyxis", "srun has --container-image")
    else:
        found = f"srun: {containers.problem}" if containers.problem else "srun has no --container-image"
        remedy = "install pyxis and enroot, or leave CONTAINER_IMAGE empty in slurm/site.env"
        yield Finding("pyxis", found, "missing", remedy, "without CONTAINER_IMAGE")
