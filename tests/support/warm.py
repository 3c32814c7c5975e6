"""Python programs started as copies of a process that has imported what they need.

To import torch, megatron-core and transformers takes seconds, in every process. `tests.support.warm_server`, one for
each process of pytest, has done it and forks for every program that a test starts.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READ_AT_START = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES")
"""Variables that libraries read when they are loaded: a program with another value cannot be a copy."""


class Server:
    """The process that forks; it ends with this one.

    Args:
        environment: what it starts with.
        as_on_a_gpu: whether its programs run as beside the fake Transformer Engine, which the environment has.
    """

    def __init__(self, environment: Mapping[str, str], as_on_a_gpu: bool = False) -> None:
        self.environment = dict(environment)
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm_server", str(theirs.fileno()), *["gpu"] * as_on_a_gpu],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Let the server end; what it has started goes on."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def fork(self, request: Mapping[str, Any], files: Sequence[int]) -> tuple[int, socket.socket]:
        """Have a program started with these files as its stdin, stdout and stderr.

        Returns:
            its process id, and where its wait status arrives once it has ended.
        """
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(self._connection, [json.dumps(request).encode()], [*files, theirs.fileno()])
        theirs.close()
        answer = status.recv(32)
        assert answer, "the server of warm processes has ended"
        return int(answer), status


@cache
def server() -> Server:
    """Return the server of this process of pytest, which starts when it is first asked for."""
    return Server({**os.environ, "OMP_NUM_THREADS": "1"})


@cache
def server_as_on_a_gpu() -> Server:
    """Return another one, for what runs beside the fake Transformer Engine."""
    from tests.fake_transformer_engine.start import packages

    return Server(packages(), as_on_a_gpu=True)


class Program(subprocess.Popen[Any]):
    """``subprocess.Popen`` of ``[sys.executable, "-m", MODULE, ...]``, or with ``-c`` or a file, started warm.

    It is a child of the server, and leads a session of its own.

    Args:
        limits: soft and hard limits of the process, by ``resource``'s numbers.
        of: the server; None: `server`.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        limits: Mapping[int, tuple[int, int]] | None = None,
        of: Server | None = None,
        **options: Any,
    ) -> None:
        self._server = of or server()
        self._limits = {str(number): limit for number, limit in (limits or {}).items()}
        super().__init__([str(word) for word in command], **options)

    def _execute_child(self, args: list[str], executable: Any, preexec_fn: Any, *more: Any) -> None:
        """Take the place of fork and exec: ``more`` are Popen's other arguments and the pipes it has made."""
        _, _, cwd, env, _, _, shell, *pipes = more[:13]
        assert args[0] == sys.executable and preexec_fn is None and not shell, args
        environment = dict(os.environ if env is None else env)
        other = [name for name in READ_AT_START if environment.get(name) != self._server.environment.get(name)]
        assert not other, f"{other}: not as in the warm server; start this program with subprocess"
        files = [standard if end == -1 else end for standard, end in enumerate((pipes[0], pipes[3], pipes[5]))]
        request = {"words": args[1:], "cwd": str(cwd or Path.cwd()), "environment": environment, "limits": self._limits}
        self.pid, self._status = self._server.fork(request, files)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, _deadstate: int | None = None) -> int | None:
        if self.returncode is None:
            self._try_wait(os.WNOHANG)
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """Take the place of ``os.waitpid``, by the server's word."""
        if self.returncode is None:
            try:
                answer = self._status.recv(32, socket.MSG_DONTWAIT if wait_flags else 0)
            except BlockingIOError:
                return 0, 0
            self._wait_status = int(answer) if answer else signal.SIGKILL
            self._status.close()
            self.returncode = os.waitstatus_to_exitcode(self._wait_status)
        return self.pid, self._wait_status


def run(command: Sequence[str | Path], *, timeout: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program warm to its end, as ``subprocess.run`` with ``capture_output`` and ``text``."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Program(command, **{**pipes, **options}) as program:
        try:
            output, errors = program.communicate(timeout=timeout)
        except BaseException:
            program.kill()
            raise
    return subprocess.CompletedProcess(command, program.returncode, output, errors)
