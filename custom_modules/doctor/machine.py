"""The machine itself: shared memory, disks, clock and limits."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custom_modules.doctor.finding import Finding, Needs
from custom_modules.errors import UserError
from custom_modules.programs import ask
from custom_modules.system import open_files
from custom_modules.text import decimal_bytes

if TYPE_CHECKING:
    from custom_modules.config.schema import Config

SHARED_MEMORY = "/dev/shm"
SHARED_MEMORY_BYTES = 2**30
"""What NCCL's documentation has containers start with; docker's default is 64 MiB."""
CLOCK_TOLERANCE = 2.0
"""Seconds that a file server's clock may differ."""
_PACKAGE = Path(__file__).resolve().parents[1]

Folder = dict[str, Any]


def _look_at(path: str | Path, timeout: float) -> tuple[Folder | None, str | None]:
    """What `folder_facts` finds, or why nothing."""
    answer = ask([sys.executable, "-m", "custom_modules.doctor.folder_facts", str(path)], timeout)
    return (None, answer.problem) if answer.problem else (json.loads(answer.output), None)


def check_shared_memory(needs: Needs) -> Iterator[Finding]:
    """NCCL's processes of a node talk through it."""
    facts, problem = _look_at(SHARED_MEMORY, needs.timeout)
    docker = f"in a container, start it with --shm-size={SHARED_MEMORY_BYTES >> 30}g or more, or --ipc=host"
    if facts is None or facts["folder"] != SHARED_MEMORY:
        yield Finding("shared memory", problem or f"no {SHARED_MEMORY}", "missing", docker, needs.without_gpu)
        return
    found = f"{decimal_bytes(facts['total'])} in {SHARED_MEMORY}, {decimal_bytes(facts['free'])} free"
    if facts["free"] < SHARED_MEMORY_BYTES:
        yield Finding("shared memory", found, "wrong", docker, needs.without_gpu)
    else:
        yield Finding("shared memory", found)


def check_disks(needs: Needs) -> Iterator[Finding]:
    """The run's folder and the data's, against what the plan will write there, and the clock of their file systems.

    Without a config: the current folder.
    """
    config = needs.config
    if config is None:
        here, problem = _look_at(".", needs.timeout)
        yield _disk("disk", ".", here, problem, "choose another folder")
        yield _clock({".": here})
        return
    run, run_problem = _look_at(config.exp_manager.exp_dir, needs.timeout)
    data, data_problem = _look_at(config.data.dir, needs.timeout)
    try:
        of_run = checkpoints_left(config) if run else 0
    except UserError as error:
        of_run = 0
        yield Finding("checkpoints", str(error), "wrong", "put one back, or set another exp_manager.name")
    of_data = datasets_left(config) if data else 0
    shared = run is not None and data is not None and run["device"] == data["device"]
    both = of_run + of_data if shared and of_run and of_data else 0
    key = "set exp_manager.exp_dir"
    yield _disk("disk of the run", config.exp_manager.exp_dir, run, run_problem, key, of_run, both)
    yield _disk("disk of the data", config.data.dir, data, data_problem, "set data.dir", of_data, both)
    yield _clock({config.exp_manager.exp_dir: run, config.data.dir: data})


def checkpoints_left(config: Config) -> int:
    """Bytes of the checkpoints that the run's folder has still to hold.

    Raises:
        UserError: the run has published checkpoints, and none that is whole is left.
    """
    from custom_modules.plan.room import checkpoints_to_come
    from custom_modules.run_folder.checkpoint_files import find_newest

    checkpoint, _ = find_newest(config.run_dir, verify_contents=False)
    return checkpoints_to_come(config, checkpoint)[1]


def datasets_left(config: Config) -> int:
    """Bytes of the datasets that the plan reads; 0 once they are prepared."""
    from custom_modules.plan.plan import build_plan

    plan = build_plan(config)
    return plan.dataset_bytes if plan.data.problem else 0


def _disk(
    check: str, place: str, facts: Folder | None, problem: str | None, remedy: str, needed: int = 0, both: int = 0
) -> Finding:
    if facts is None:
        return Finding(check, f"{place}: {problem}", "wrong", f"its file system must answer; or {remedy}")
    found = f"{decimal_bytes(facts['free'])} free in {facts['folder']}"
    if needed:
        found += f", {decimal_bytes(needed)} to come"
    if both:
        found += f", {decimal_bytes(both)} with the other folder on this disk"
    if facts["problem"]:
        return Finding(check, f"{found}: {facts['problem']}", "wrong", f"make it writable, or {remedy}")
    if facts["free"] < max(needed, both):
        return Finding(check, found, "wrong", f"free some space, or {remedy}")
    return Finding(check, found)


def _clock(folders: dict[str, Folder | None]) -> Finding:
    """This machine's against that of the file systems, and against the newest file of this program."""
    ahead = {place: facts["clock"] for place, facts in folders.items() if facts and facts["clock"] is not None}
    behind = max(file.stat().st_mtime for file in _PACKAGE.rglob("*.py")) - time.time()
    off = [f"{place} is {seconds:+.1f} s off" for place, seconds in ahead.items() if abs(seconds) > CLOCK_TOLERANCE]
    if behind > CLOCK_TOLERANCE:
        off.append(f"files of this program are {behind:,.0f} s younger")
    found = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if off:
        remedy = "set the clocks of this machine and of the file server by NTP (chronyd)"
        return Finding("clock", f"{found}, but {', '.join(off)}", "wrong", remedy)
    return Finding("clock", f"{found}, as in {', '.join(ahead)}" if ahead else found)


def check_synchronised(needs: Needs) -> Iterator[Finding]:
    """Whether something keeps the clock right: nodes that differ cannot talk to Slurm, and their logs mislead."""
    absent = None if needs.slurm or needs.several_nodes else "on one machine"
    answer = None
    if shutil.which("timedatectl"):
        answer = ask(["timedatectl", "show", "--property=NTPSynchronized", "--value"], needs.timeout)
    if (answer is None or answer.problem) and shutil.which("chronyc"):
        answer = ask(["chronyc", "-n", "tracking"], needs.timeout)
    said = answer.output if answer and not answer.problem else ""
    if said.strip() == "yes" or any(line.split() == ["Leap", "status", ":", "Normal"] for line in said.splitlines()):
        yield Finding("clock kept", "synchronised by NTP")
        return
    found = "not synchronised" if said else "nothing here says so"
    if answer and answer.problem:
        found += f": {answer.problem}"
    yield Finding("clock kept", found, "wrong" if said else "missing", "run chronyd or systemd-timesyncd", absent)


def check_limits(needs: Needs) -> Iterator[Finding]:
    """Open files, and memory that may be locked: what InfiniBand reads and writes is."""
    files = open_files()
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = locked == resource.RLIM_INFINITY
    found = f"{'any' if files == sys.maxsize else f'{files:,}'} open files, "
    found += f"{'any' if unlimited else decimal_bytes(locked)} locked memory"
    if unlimited:
        yield Finding("limits", found)
        return
    remedy = "ulimit -l unlimited; in a container, start it with --ulimit memlock=-1"
    absent = needs.without_gpu or (None if needs.several_nodes else "on one node")
    yield Finding("limits", found, "wrong", remedy, absent)
