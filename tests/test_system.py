"""What does in place of what Linux alone has, on a Linux that lacks it as macOS does."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from custom_modules import system
from tests.support.as_on_macos import sitecustomize as as_on_macos
from tests.support.commands import danube_command, environment
from tests.support.runs import assert_same_run

ROOT = Path(__file__).resolve().parents[1]
GPU_DRIVER = "/proc/driver/nvidia"
"""Where it is there is a GPU: on no macOS."""
LIKE_MACOS = {"PYTHONPATH": os.pathsep.join([str(Path(as_on_macos.__file__).parent), str(ROOT)])}
"""The environment of a program that finds as little as it would there."""


def told(program: str, *arguments: str, **variables: str) -> Any:
    """What a program says, as JSON, that finds nothing of Linux's own."""
    command, env = [sys.executable, "-c", program, *arguments], {**environment(), **LIKE_MACOS, **variables}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_else_asks_for_what_linux_alone_has() -> None:
    """Names are Linux's by typeshed's word, paths by their text."""
    absent = {module: as_on_macos.only_on_linux(module) for module in as_on_macos.MODULES}
    assert "sched_getaffinity" in absent["os"] and "EREMOTEIO" in absent["errno"] and "epoll" in absent["select"]
    assert "getpid" not in absent["os"] and "SIGUSR1" not in absent["signal"]
    for path in sorted(path for folder in ("custom_modules", "data_prep") for path in (ROOT / folder).rglob("*.py")):
        if path == Path(system.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            place = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.attr not in absent.get(node.value.id, ()), place
            elif isinstance(node, ast.ImportFrom):
                assert not {alias.name for alias in node.names} & absent.get(str(node.module), set()), place
            elif isinstance(node, ast.Import):
                assert "ctypes" not in {alias.name for alias in node.names}, place
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/proc"):
                assert node.value.startswith(GPU_DRIVER), place


def test_a_process_without_what_linux_says_of_it() -> None:
    program = """
import errno, json, os
from custom_modules import errors, system
block = bytearray(os.urandom(1 << 20)) * 64
found = {"with_block": system.resident_bytes(), "peak": system.peak_resident_bytes()}
del block
system.forget_peak()
system.limit_memory(1 << 40)
found |= {"without": system.resident_bytes(), "cores": system.usable_cores(), "threads": system.thread_count()}
found |= {"files": system.allow_open_files(), "passing": [errno.errorcode[code] for code in errors.PASSING]}
print(json.dumps(found))
"""
    found = told(program)
    assert found["with_block"] - found["without"] > 60 << 20
    assert found["peak"] > 0.9 * found["with_block"]
    assert found["cores"] == os.cpu_count() and found["threads"] is None
    assert found["files"] >= system.open_files()
    assert {"EIO", "ESTALE"} < set(found["passing"]) and "EREMOTEIO" not in found["passing"]


def test_where_linux_says_it_that_is_asked() -> None:
    this = psutil.Process()
    assert system.usable_cores() == len(this.cpu_affinity())
    assert system.thread_count() == this.num_threads()
    assert system.resident_bytes() == pytest.approx(this.memory_info().rss, rel=0.1)
    assert system.peak_resident_bytes() >= 0.9 * system.resident_bytes()


def test_a_lock_without_flock_is_taken_over_where_its_process_has_ended(tmp_path: Path) -> None:
    """``ps`` knows the process; ``sysctl`` of macOS gives an id for the time since the machine was started."""
    sysctl = tmp_path / "sysctl"
    sysctl.write_text('#!/bin/sh\n[ "$*" = "-n kern.bootsessionuuid" ] && echo 6E1F-$BOOT\n')
    sysctl.chmod(0o755)
    own = "from custom_modules.lock_holder import Holder; import sys; "
    take = f"{own} print(Holder.this_process().as_bytes().decode(), flush=True); sys.stdin.read()"
    gone = f"{own} import json; print(json.dumps(Holder(**json.loads(sys.argv[1])).is_gone()))"
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BOOT": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", take],
        env={**environment(), **LIKE_MACOS, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        holder = process.stdout.readline()
        assert json.loads(holder)["boot"] == "6E1F-1" and "20" in json.loads(holder)["started"]
        assert not told(gone, holder, **variables)
    assert told(gone, holder, **variables)
    assert not told(gone, holder, **{**variables, "BOOT": "2"})


def test_a_process_ends_with_the_one_that_started_it() -> None:
    """However that ends, and where it has ended before."""
    child = "from custom_modules.system import end_with; import sys, time; end_with(int(sys.argv[1])); "
    child += "print(0, flush=True); time.sleep(60)"
    parent = (
        "import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())]).wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, child],
        env={**environment(), **LIKE_MACOS},
        stdout=subprocess.PIPE,
    ) as started:
        assert started.stdout is not None and started.stdout.readline() == b"0\n"
        started.kill()
        begun = time.monotonic()
        assert started.stdout.read() == b"", "the pipe is closed once nobody can write into it"
        assert time.monotonic() - begun < 30
    late = subprocess.run([sys.executable, "-c", child, "1"], env={**environment(), **LIKE_MACOS}, capture_output=True)
    assert late.returncode == -9


@pytest.mark.slow
def test_a_run_of_two_processes_is_the_same(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """Every number bit for bit, with processes that are started and not forked."""
    for name, variables in (("linux", {}), ("macos", LIKE_MACOS)):
        command = danube_command(*tiny(name, "trainer.devices=2", "curriculum.stage=stage1"))
        done = subprocess.run(command, env={**environment(), **variables}, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "linux", tmp_path / "macos")
