"""Rank 0's work for all: the others wait beyond every timeout, and hear of its end, whatever it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import warm
from tests.support.commands import environment, free_ports

PROGRAM = """
import os, sys, time
from datetime import timedelta
from custom_modules.errors import UserError
from custom_modules.platform import Platform
from custom_modules.platform.rank_0 import from_every_rank, on_rank_0, wait_for_all
from custom_modules.platform.world import World

world = World.from_environment()
with Platform("cpu", world).connected(timeout=timedelta(seconds=2)):
    try:
        WORK
    except UserError as error:
        print(world.rank, error, file=sys.stderr)
        raise SystemExit(2)
    except RuntimeError:
        raise SystemExit(7)
"""


def on_two_processes(work: str) -> list[tuple[int, str]]:
    """Exit code and stderr of each rank."""
    program = PROGRAM.replace("WORK", work)
    (port,) = free_ports(1)
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        warm.Program(
            [sys.executable, "-c", program],
            env={**environment(), **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=60)[1] for process in started]
    return [(process.returncode, stderr) for process, stderr in zip(started, said, strict=True)]


@pytest.mark.slow
def test_the_others_wait_longer_than_any_collective() -> None:
    work = (
        'found = on_rank_0(lambda: time.sleep(5) or "made"); print(found, from_every_rank(world.rank), file=sys.stderr)'
    )
    assert on_two_processes(work) == [(0, "made [0, 1]\n"), (0, "made [0, 1]\n")]


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ('raise UserError("no")', "no"),
        ('open("/proc/nowhere/file")', "/proc/nowhere/file: No such file or directory; "),
        ('os.listdir("/dev/null")', "/dev/null: Not a directory; "),
    ],
)
def test_what_rank_0_meets_reaches_all(work: str, message: str) -> None:
    for rank, (code, said) in enumerate(on_two_processes(f"on_rank_0(lambda: exec({work!r}))")):
        assert code == 2
        assert said.startswith(f"{rank} {message}")


def test_the_end_of_rank_0_is_the_end_of_the_wait() -> None:
    [(first, _), (second, _)] = on_two_processes("wait_for_all(); on_rank_0(lambda: os._exit(9)); wait_for_all()")
    assert (first, second) == (9, 7)
