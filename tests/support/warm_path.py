"""`danube` and `python` on a shell's PATH, as warm programs: they ask a server of `tests.support.warm`."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from custom_modules.platform.launch import LAUNCHER
from tests.fake_transformer_engine.start import FOLDER
from tests.support.warm import Server, server, server_as_on_a_gpu

HERE = "%node"
"""In an address: the name of the machine on which a program is started."""
_ASKS = """#!{python} -IS
import json, os, signal, socket, sys
signals = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
words = {words!r} + sys.argv[1:]
environment = dict(os.environ)
if environment.pop({launcher!r}, None):  # who must outlive this program, and would kill what is not its own child
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as to:
    to.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    try:
        to.connect({address!r}.replace({here!r}, os.uname().nodename))
    except OSError:  # no server here
        os.execv({python!r}, [{python!r}, *words])
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    request = {{"words": words, "cwd": os.getcwd(), "environment": environment, "limits": {{}}}}
    socket.send_fds(to, [json.dumps(request).encode()], [0, 1, 2])
    pid = int(to.recv(32))
    for number in signals:
        signal.signal(number, lambda number, frame: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    code = os.waitstatus_to_exitcode(int(to.recv(32) or b"9"))
if code < 0:
    if -code in signals:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
_LARGEST = 1 << 20


@contextmanager
def warm_programs(folder: Path) -> Iterator[Path]:
    """Give a folder to put first on a PATH, in which `danube` and `python` are."""
    address = str(folder / "asked")
    write_programs(folder, address)
    with serving(address):
        yield folder


@contextmanager
def warm_programs_as_on_a_gpu(folder: Path) -> Iterator[Path]:
    """Give a folder in which `danube` and `python` run as beside the fake Transformer Engine."""
    address = str(folder / "asked")
    write_programs(folder, address, danube=[str(FOLDER / "danube.py")])
    with serving(address, server_as_on_a_gpu):
        yield folder


def write_programs(folder: Path, address: str, danube: Sequence[str] = ("-m", "custom_modules.cli")) -> None:
    """Write programs that ask the server at an address; where there is none they start as they are.

    A signal to one goes to what it has started, and ends that where it ends the one that asked. It ends as that does,
    and with the process that it is told is its launcher.

    Args:
        danube: Python's arguments for `danube`.
    """
    folder.mkdir(parents=True)
    for name, words in (("danube", list(danube)), ("python", [])):
        program = folder / name
        text = _ASKS.format(python=sys.executable, address=address, words=words, here=HERE, launcher=LAUNCHER)
        program.write_text(text)
        program.chmod(0o755)


@contextmanager
def serving(address: str, of: Callable[[], Server] = server) -> Iterator[None]:
    """Have a server of this process's started, and start programs for whoever asks."""
    of()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen()
        Thread(target=_serve, args=(listening, of()), daemon=True).start()
        yield
        listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, of: Server) -> None:
    """Start every program that is asked for, until nobody listens."""
    while True:
        try:
            asking, _ = listening.accept()
        except OSError:
            return
        Thread(target=_start, args=(asking, of), daemon=True).start()


def _start(asking: socket.socket, of: Server) -> None:
    """Start a program, and say how it has ended; it may ask for others meanwhile."""
    with asking:
        message, files, _, _ = socket.recv_fds(asking, _LARGEST, 3)
        pid, status = of.fork(json.loads(message), files)
        for file in files:
            socket.close(file)
        with status, suppress(BrokenPipeError):
            asking.send(str(pid).encode())
            if status not in select.select([status, asking], [], [])[0]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            asking.send(status.recv(32) or b"9")
