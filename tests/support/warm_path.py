"""`danube` and `python` on a shell's PATH, as warm programs: they ask the server of `tests.support.warm`."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from tests.support.warm import server

_ASKS = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as to:
    to.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    to.connect({address!r})
    request = {{"words": {words!r} + sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ), "limits": {{}}}}
    socket.send_fds(to, [json.dumps(request).encode()], [0, 1, 2])
    status = int(to.recv(32) or b"9")
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""
_LARGEST = 1 << 20


@contextmanager
def warm_programs(folder: Path) -> Iterator[Path]:
    """Give a folder to put first on a PATH, in which `danube` and `python` are."""
    folder.mkdir(parents=True)
    address = str(folder / "asked")
    for name, words in (("danube", ["-m", "custom_modules.cli"]), ("python", [])):
        program = folder / name
        program.write_text(_ASKS.format(python=sys.executable, address=address, words=words))
        program.chmod(0o755)
    server()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen()
        Thread(target=_serve, args=(listening,), daemon=True).start()
        yield folder
        listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket) -> None:
    """Start every program that is asked for, until nobody listens."""
    while True:
        try:
            asking, _ = listening.accept()
        except OSError:
            return
        Thread(target=_start, args=(asking,), daemon=True).start()


def _start(asking: socket.socket) -> None:
    """Start a program, and say how it has ended; it may ask for others meanwhile."""
    with asking:
        message, files, _, _ = socket.recv_fds(asking, _LARGEST, 3)
        _, status = server().fork(json.loads(message), files)
        for file in files:
            socket.close(file)
        with status:
            asking.send(status.recv(32) or b"9")
