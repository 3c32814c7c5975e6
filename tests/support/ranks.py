"""One function in several processes at once, as the ranks of a run: copies of the warm process, that import nothing."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import Any

from tests.support.commands import ROOT, environment
from tests.support.warm import Program

_CALL = "import pickle, sys; function, arguments = pickle.loads(bytes.fromhex(sys.argv[1])); function(*arguments)"


def run_ranks(function: Callable[..., None], arguments: Sequence[Any], size: int, timeout: float = 600) -> None:
    """Call a module's function as ``function(rank, *arguments)`` in each of some processes; wait for all.

    Where one fails, the others, which would wait for it, are killed.

    Args:
        arguments: what pickle takes.
        timeout: seconds for all of them.

    Raises:
        AssertionError: one failed; it has the number of the rank and what the process said.
    """
    given = {**environment(), "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        logs = [stack.enter_context(TemporaryFile("w+")) for _ in range(size)]
        ranks = [
            Program(
                [sys.executable, "-c", _CALL, pickle.dumps((function, (rank, *arguments))).hex()],
                cwd=ROOT,
                env=given,
                stdout=log,
                stderr=log,
            )
            for rank, log in enumerate(logs)
        ]
        try:
            deadline = time.monotonic() + timeout
            running = set(range(size))
            while running:
                assert time.monotonic() < deadline, f"ranks {sorted(running)} do not end"
                for rank in sorted(running):
                    if ranks[rank].poll() is not None:
                        logs[rank].seek(0)
                        assert ranks[rank].returncode == 0, f"rank {rank}: {logs[rank].read()}"
                        running.remove(rank)
                time.sleep(0.01)
        finally:
            for process in ranks:
                process.kill()
                process.wait()
