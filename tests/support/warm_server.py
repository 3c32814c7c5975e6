"""A process that has imported what `danube` needs, and forks: `tests.support.warm` starts it and asks it to.

A copy is as a process that has just begun, but for the modules that are loaded. It has the arguments, folder,
environment, limits and files that it is given, Python's own handlers of signals and filters of warnings, and random
numbers of its own. It ends as Python does, but takes no module apart.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import re
import resource
import runpy
import select
import signal
import socket
import sys
import threading
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.support import kills, no_flock, parsed_once

ALSO = ("hydra", "transformers.models.mistral.modeling_mistral", "torch.utils.tensorboard", "spacy")
"""Imported inside functions of ours, or of libraries. Not pyarrow.parquet, which starts a thread."""
START = ("custom_modules.cli",)
"""Programs: a module is not run a second time."""
CHAT = "custom_modules.dpo.trainer"
"""What imports the libraries of the extra ``chat``: only once a program asks for `danube dpo`."""

TASKS = "lm_eval.api.task"
SCORES = frozenset(("evaluate", "data_prep.rehearsal.evaluation"))
SCORING = re.compile(r"trainer\.evaluate=\{tasks: \[(?!/)")
"""What imports the library of the extra ``eval``, and the words of what asks it, or comes before what does."""


def import_all() -> None:
    """Import megatron-core as on a CPU, and every module of the project."""
    import custom_modules
    import data_prep
    from custom_modules.platform.megatron import import_megatron

    with warnings.catch_warnings():
        import_megatron("cpu")
        for package in (custom_modules, data_prep):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if module.name not in (*START, CHAT):
                    importlib.import_module(module.name)
        for name in ALSO:
            importlib.import_module(name)


def import_for(words: list[str]) -> None:
    """Import what a command needs beside that, before the first of its programs is forked."""
    if "dpo" in words and CHAT not in sys.modules:
        from custom_modules.dpo.libraries import import_libraries

        import_libraries()
        importlib.import_module(CHAT)
        gc.collect()
        gc.freeze()
    if TASKS not in sys.modules and (SCORES.intersection(words) or any(map(SCORING.match, words))):
        from custom_modules.dpo.libraries import silence_libraries

        silence_libraries()
        importlib.import_module(TASKS)
        importlib.import_module("datasets")
        gc.collect()
        gc.freeze()


def serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for every request until the connection ends; returns a request in a copy, None in this process."""
    running: dict[int, tuple[int, socket.socket]] = {}
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor != connection.fileno():
                poller.unregister(descriptor)
                os.close(descriptor)
                pid, status = running.pop(descriptor)
                _tell(status, os.waitpid(pid, 0)[1])
                status.close()
                continue
            message, files, _, _ = socket.recv_fds(connection, 1 << 18, 4)
            if not message:
                return None
            import_for(json.loads(message)["words"])
            assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread would not be in the copy"
            pid = os.fork()
            if pid == 0:
                connection.close()
                for pidfd, (_, status) in running.items():
                    os.close(pidfd)
                    status.close()
                for number, file in enumerate(files[:3]):
                    os.dup2(file, number)
                for file in files:
                    os.close(file)
                return dict(json.loads(message))
            for file in files[:3]:
                os.close(file)
            status = socket.socket(fileno=files[3])
            _tell(status, pid)
            pidfd = os.pidfd_open(pid)
            running[pidfd] = pid, status
            poller.register(pidfd, select.POLLIN)


def _tell(status: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):  # where the test does not wait
        status.send(str(number).encode())


def become(request: dict[str, Any], path: list[str]) -> NoReturn:
    """Run the program of a request as this process's ``__main__``.

    Args:
        path: ``sys.path`` without what the arguments and the environment add.
    """
    import numpy

    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, limit in request["limits"].items():
        resource.setrlimit(int(number), tuple(limit))
    numpy.random.seed()
    if kills.VARIABLE in os.environ:
        kills.watch()
    if no_flock.VARIABLE in os.environ:
        no_flock.refuse()
    _end(lambda: _run(request, path))


def _run(request: dict[str, Any], path: list[str]) -> None:
    kind, *rest = request["words"]
    first = request["cwd"] if kind == "-m" else "" if kind == "-c" else str(Path(kind).parent)
    added = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [first, *added, *path]
    importlib.invalidate_caches()
    if kind == "-m":
        sys.argv[:] = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv[:] = [kind, *rest]
        runpy.run_path(kind, run_name="__main__")


def _end(program: Callable[[], None]) -> NoReturn:
    """Run a program and end as Python does after it, but for taking apart every module."""
    code: object = 0
    try:
        program()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, OSError):
            stream.flush()
    os._exit(code or 0)


def start() -> None:
    root = str(Path(__file__).resolve().parents[2])
    path = [entry for entry in sys.path if entry != root]
    connection = socket.socket(fileno=int(sys.argv[1]))
    import_all()
    parsed_once.parse_recipes()
    gc.collect()
    gc.freeze()
    request = serve(connection)
    if request is not None:
        become(request, path)


if __name__ == "__main__":
    start()
