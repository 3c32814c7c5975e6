"""Who holds a lock, and whether that process can still be there, by the system and by Slurm."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from custom_modules.programs import ask
from custom_modules.system import boot_id, machine_id, process_namespace, process_started

SLURM_TIMEOUT = 10.0
"""Seconds that Slurm has to say what became of a job."""
_AT_WORK = frozenset(
    ("RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED")
)
"""States of a job in which it may have processes."""


@dataclass(frozen=True)
class Holder:
    """A process, as far as others can tell it from all that ever were."""

    host: str
    machine: str
    """``/etc/machine-id``; empty where there is none."""
    boot: str
    """The machine's id since it was started; empty where it has none."""
    namespace: str
    """Where the process has its id: each container of Linux has its own."""
    process: int
    started: str
    """When the process was started, as its system says it."""
    job: str | None
    restart: int
    """Of the job, as Slurm counts them."""
    cluster: str | None
    token: str
    """Of the lock: no two are the same."""

    @classmethod
    def this_process(cls, env: Mapping[str, str] | None = None) -> Holder:
        """Describe the process that asks."""
        env = os.environ if env is None else env
        return cls(
            host=socket.gethostname(),
            machine=machine_id(),
            boot=boot_id(),
            namespace=process_namespace(),
            process=os.getpid(),
            started=process_started(os.getpid()) or "",
            job=env.get("SLURM_JOB_ID"),
            restart=int(env.get("SLURM_RESTART_COUNT") or 0),
            cluster=env.get("SLURM_CLUSTER_NAME"),
            token=uuid.uuid4().hex,
        )

    def __str__(self) -> str:
        return f"process {self.process}{f' of job {self.job}' if self.job else ''} on {self.host}"

    def as_bytes(self) -> bytes:
        """Write it as `read_holder` reads it."""
        return json.dumps(asdict(self)).encode()

    def is_gone(self) -> bool:
        """Tell whether the process has surely ended: it was on this machine and is not there, or its job has ended."""
        here = Holder.this_process()
        if self.boot and (self.boot, self.namespace) == (here.boot, here.namespace):
            return process_started(self.process) != self.started
        if self.machine and (self.host, self.machine) == (here.host, here.machine) and self.boot != here.boot:
            return True
        if self.job is None:
            return False
        if (self.job, self.cluster) == (here.job, here.cluster):
            return self.restart < here.restart
        return _has_ended(self.job, self.cluster)


def read_holder(path: Path) -> Holder | None:
    """Read what `Holder.as_bytes` wrote; None where it cannot be read."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _has_ended(job: str, cluster: str | None) -> bool:
    """Ask Slurm whether a job has no processes: it ended, or waits to be started again."""
    if cluster is not None and cluster != _this_cluster():
        return False
    queue = ask(["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"], SLURM_TIMEOUT)
    if queue.problem and "Invalid job id" in queue.problem:
        return True
    states = queue.output.split()
    if queue.problem or not states:
        account = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job}"]
        answer = ask(account, SLURM_TIMEOUT)
        states = [] if answer.problem else [line.split()[0] for line in answer.output.splitlines() if line.strip()]
    return bool(states) and not _AT_WORK.intersection(states)


@cache
def _this_cluster() -> str | None:
    if name := os.environ.get("SLURM_CLUSTER_NAME"):
        return name
    settings = ask(["scontrol", "show", "config"], SLURM_TIMEOUT).output.splitlines()
    named = [line.partition("=")[2].strip() for line in settings if line.startswith("ClusterName ")]
    return named[0] if named else None
