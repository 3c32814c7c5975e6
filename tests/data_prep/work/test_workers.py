"""A worker process that ends as it should not: how it ended is said, and what may be done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from data_prep.work.workers import Workers
from tests.support.commands import environment

WORK = "with Workers(2) as workers:\n    print(sorted(workers.run(abs, [(-1,), (-2,)])))\n"
IMPORT = "from data_prep.work.workers import Workers\n"


def run_script(text: str, folder: Path, from_stdin: bool = False) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text)
    words = [sys.executable, "-" if from_stdin else str(folder / "script.py")]
    given = {**environment(), "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(words, input=text, env=given, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("from_stdin", [False, True])
@pytest.mark.parametrize(
    "warm", ["", pytest.param("    workers.warm_up(abs, 1)\n    time.sleep(2)\n", marks=pytest.mark.slow)]
)
def test_a_script_that_every_worker_would_run_again(from_stdin: bool, warm: str, tmp_path: Path) -> None:
    """Memory has nothing to do with it. A pool may be broken before it is given work."""
    work = WORK.replace("workers:\n", f"workers:\n{warm}")
    done = run_script(f"import time\n{IMPORT}{work}", tmp_path, from_stdin)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "UserError: a worker process ended with exit code 1 as it began" in last and "if __name__ ==" in last
    assert ("<stdin>" if from_stdin else str(tmp_path / "script.py")) in last
    assert "memory" not in done.stderr


def test_a_script_with_a_main_guard(tmp_path: Path) -> None:
    indented = "".join(f"    {line}\n" for line in WORK.splitlines())
    done = run_script(f'{IMPORT}if __name__ == "__main__":\n{indented}', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[(0, 1), (1, 2)]\n", "")


@pytest.mark.parametrize(
    ("function", "argument", "said"),
    [
        (signal.raise_signal, signal.SIGKILL, "was killed, as happens when memory runs out; use fewer data.workers"),
        (signal.raise_signal, signal.SIGSEGV, "was ended by SIGSEGV"),
        (os._exit, 3, "ended with exit code 3, for what it says above; the same command goes on"),
    ],
)
def test_how_it_ended(function: object, argument: int, said: str) -> None:
    with pytest.raises(UserError, match=said), Workers(2) as workers:
        list(workers.run(function, [(argument,)]))  # type: ignore[arg-type]
