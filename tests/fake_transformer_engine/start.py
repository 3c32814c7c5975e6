"""Programs that see the fake Transformer Engine."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.support import warm
from tests.support.commands import environment, free_ports

FOLDER = Path(__file__).resolve().parent


def packages(fake: bool = True) -> dict[str, str]:
    """This environment, in which ``transformer_engine`` can be imported or not."""
    paths = [*([str(FOLDER / "packages")] if fake else []), str(FOLDER.parents[1])]
    return {**environment(), "PYTHONPATH": os.pathsep.join(paths)}


def danube_as_on_a_gpu(*commands: list[str], processes: int = 1, fake: bool = True) -> str:
    """Commands of `danube`, one after the other in as many processes; returns what the first process logged."""
    ports = " ".join(map(str, free_ports(len(commands))))
    launched = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORTS": ports}
    arguments = list(itertools.chain.from_iterable(["then", *command] for command in commands))[1:]
    start = partial(warm.Program, of=warm.server_as_on_a_gpu()) if fake else subprocess.Popen
    workers = [
        start(
            [sys.executable, str(FOLDER / "danube.py"), *arguments],
            env={**packages(fake), **launched, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        logs = [worker.communicate(timeout=600)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * processes, logs
    return logs[0]
