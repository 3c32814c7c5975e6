"""A judge on the loopback that misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """What came, and when."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    time: float

    @property
    def user(self) -> str:
        return str(self.body["messages"][-1]["content"])


Behave = Callable[["Handler", Request], None]


@dataclass
class Judge:
    """A running one.

    Attributes:
        address: for ``--judge``.
        faults: what it does to its first requests, one after another; later ones are answered.
        rate: the text of its answer to a request.
        requests: all that came.
        answered: those whose answer has gone out whole, by user's message.
        gate: requests wait here before they are answered.
    """

    address: str = ""
    faults: list[Behave] = field(default_factory=list)
    rate: Callable[[Request], str] = lambda request: "Rating: [[7]]"
    requests: list[Request] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    gate: threading.Semaphore | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    ends: threading.Event = field(default_factory=threading.Event)

    @property
    def options(self) -> list[str]:
        """Words for `danube mt-bench`, which does not wait long."""
        return ["--judge", self.address, "--judge-model", "judge", "--first-wait", "0.01", "--timeout", "20"]


class Handler(BaseHTTPRequestHandler):
    judge: Judge
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        judge = self.judge
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = Request(self.path, dict(self.headers.items()), body, time.time())
        with judge.lock:
            judge.requests.append(request)
            fault = judge.faults.pop(0) if judge.faults else None
        gate = None if fault else judge.gate
        while gate and not gate.acquire(timeout=0.05):
            if judge.ends.is_set():
                return
        if fault:
            fault(self, request)
            return
        with judge.lock:
            judge.answered[request.user] += 1
        self.send(200, completion(judge.rate(request)))

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def break_off(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def completion(text: str | None) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).encode()


def status(number: int, body: bytes = b"", **headers: str) -> Behave:
    return lambda handler, request: handler.send(number, body, **headers)


def retry_date(seconds: float) -> Behave:
    """429 with a date, of whole seconds."""
    return lambda handler, request: handler.send(429, b"", Retry_After=formatdate(time.time() + seconds, usegmt=True))


def half(handler: Handler, request: Request) -> None:
    """The beginning of an answer that is to be longer."""
    body = completion("Rating: [[2]]")
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.break_off()


def half_of_unknown_length(handler: Handler, request: Request) -> None:
    """The beginning of an answer that says nothing of its length."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(completion("Rating: [[2]]")[:40])
    handler.break_off()


def hang_up(handler: Handler, request: Request) -> None:
    handler.break_off()


def nonsense(body: bytes) -> Behave:
    return status(200, body)


def slow(handler: Handler, request: Request) -> None:
    """Nothing at all, for longer than anybody waits."""
    handler.judge.ends.wait(60)


def dripping(handler: Handler, request: Request) -> None:
    """A byte now and then, without end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.judge.ends.wait(0.05):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return


@contextmanager
def running_judge(faults: Sequence[Behave] = (), port: int = 0) -> Iterator[Judge]:
    """Run one until the context ends."""
    judge = Judge(faults=list(faults))
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Judging", (Handler,), {"judge": judge}))
    server.daemon_threads = True
    judge.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        judge.ends.set()
        server.shutdown()
        server.server_close()
        thread.join()
