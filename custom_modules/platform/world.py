"""Who this process is in the job, from torchrun's environment or Slurm's. Needs no torch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from custom_modules.errors import UserError

LOOPBACK = "127.0.0.1"
LISTENING = range(10_000, 30_000)
"""Ports for the processes of a run to meet at: below those that Linux gives to outgoing connections by default, and
that Kubernetes gives to services."""
LISTENER = "DANUBE_LISTENER"
"""Of our own launcher's: the descriptor of the socket that it has bound to the port, which rank 0 has from it."""
A_RESTART = 7_919
"""How far the port of a job's restart is from the one before: not where the jobs of the next numbers are."""


@dataclass(frozen=True)
class World:
    """One process among ``size``."""

    rank: int
    size: int
    local_rank: int
    master_addr: str
    master_port: int
    source: str
    """Where the figures came from: torchrun, slurm or single."""
    has_own_gpu: bool = False
    """Whether a process that sees one GPU has that to itself: its node has more, as with ``--gpus-per-task=1``."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> World:
        """torchrun's variables first, since a launcher may run inside a Slurm job; then Slurm's step; else one process.

        Where each process has a machine or container of its own, as with Kubernetes' PyTorchJob, LOCAL_RANK is missing.

        Raises:
            UserError: a variable that is missing or is no number.
        """
        env = os.environ if env is None else env
        if "RANK" in env and "WORLD_SIZE" in env:
            return cls(
                rank=_number(env, "RANK"),
                size=_number(env, "WORLD_SIZE"),
                local_rank=_number(env, "LOCAL_RANK") if "LOCAL_RANK" in env else 0,
                master_addr=env.get("MASTER_ADDR", LOOPBACK),
                master_port=_number(env, "MASTER_PORT") if _number(env, "WORLD_SIZE") > 1 else 0,
                source="torchrun",
            )
        if "SLURM_PROCID" in env and "SLURM_STEP_ID" in env:
            return cls(
                rank=_number(env, "SLURM_PROCID"),
                size=_number(env, "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS"),
                local_rank=_number(env, "SLURM_LOCALID"),
                master_addr=env.get("MASTER_ADDR") or _first_slurm_host(env),
                master_port=_number(env, "MASTER_PORT") if env.get("MASTER_PORT") else _port_of_job(env),
                source="slurm",
                has_own_gpu=_binds_gpus(env),
            )
        return cls(rank=0, size=1, local_rank=0, master_addr=LOOPBACK, master_port=0, source="single")

    @property
    def is_launched(self) -> bool:
        """Whether a launcher has already started this job's processes.

        One alone may start those of its node: in a shell under ``srun --pty``, say.
        """
        return self.size > 1


@dataclass(frozen=True)
class Pod:
    """One of ``count`` machines or containers of which each has to start its own processes, as PyTorchJob makes them.

    With ``nprocPerNode`` it sets RANK to the pod's number and WORLD_SIZE to that of all processes.
    """

    rank: int
    count: int
    processes: int
    """How many processes each pod has."""
    master_addr: str
    master_port: int

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> Pod | None:
        """None where this is no such pod, or one of its processes already.

        Raises:
            UserError: a variable that is missing or is no number.
        """
        env = os.environ if env is None else env
        if "LOCAL_RANK" in env or not env.get("PET_NPROC_PER_NODE", "").isdigit() or "PET_NODE_RANK" not in env:
            return None
        processes = _number(env, "PET_NPROC_PER_NODE")
        if processes == 1:
            return None
        return cls(
            rank=_number(env, "PET_NODE_RANK"),
            count=_number(env, "WORLD_SIZE") // processes,
            processes=processes,
            master_addr=env.get("MASTER_ADDR", LOOPBACK),
            master_port=_number(env, "MASTER_PORT"),
        )


def _number(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except (KeyError, ValueError):
        raise UserError(
            f"{name}={env.get(name, '')}: the launcher must set it to a number; start with torchrun or srun, "
            "or unset RANK and WORLD_SIZE to run as a single process"
        ) from None


def _binds_gpus(env: Mapping[str, str]) -> bool:
    """Tell it by the node's GPUs of the job, for a task that sees one: what binds them is named in many ways."""
    return env.get("SLURM_GPUS_ON_NODE", "").isdigit() and int(env["SLURM_GPUS_ON_NODE"]) > 1


def _port_of_job(env: Mapping[str, str]) -> int:
    restart = _number(env, "SLURM_RESTART_COUNT") if env.get("SLURM_RESTART_COUNT") else 0
    return LISTENING[(_number(env, "SLURM_JOB_ID") + restart * A_RESTART) % len(LISTENING)]


def _first_slurm_host(env: Mapping[str, str]) -> str:
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST", "")
    if "[" not in nodes:
        return nodes.split(",")[0] or LOOPBACK
    try:
        hosts = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"SLURM_STEP_NODELIST={nodes}: scontrol cannot expand it ({error}); set MASTER_ADDR") from None
    return hosts.stdout.split()[0]
