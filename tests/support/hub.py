"""A hub of data sets on this machine's loopback, which fails as it is told to."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40
_INFO = re.compile(r"/api/datasets/(?P<repo>[^/]+/[^/?]+)(?:/revision/(?P<revision>[^?]+))?(?:\?.*)?")
_FILE = re.compile(r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?]+)")


@dataclass
class Hub:
    """What it holds, what it was asked for, and how it fails next.

    Attributes:
        sets: files by path, of each ``ORG/NAME``.
        asked: each request: method, path, and the range it asked for.
        statuses: what it answers to the next requests instead.
        cut_after: bytes after which the next transfers break off.
        commits: what each set's newest commit is, where not `COMMIT`.
        hashes: what it takes some files' SHA-256 for, by their paths.
        ignores_revisions: whether it has that one whichever is asked for.
    """

    sets: Mapping[str, Mapping[str, bytes]]
    address: str = ""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    always: int | None = None
    cut_after: list[int] = field(default_factory=list)
    commits: dict[str, str] = field(default_factory=dict)
    ignores_revisions: bool = False

    hashes: dict[str, str] = field(default_factory=dict)

    def stored(self, name: str, content: bytes) -> dict[str, object]:
        """What it says of a file: the hash of a large one is known to it."""
        if not name.endswith(".parquet"):
            return {}
        sha256 = self.hashes.get(name, hashlib.sha256(content).hexdigest())
        return {"size": len(content), "lfs": {"sha256": sha256, "size": len(content), "pointerSize": 130}}

    def commit(self, repo: str) -> str:
        return self.commits.get(repo, COMMIT)


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve it while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(has_body=True)

        def do_HEAD(self) -> None:
            self._answer(has_body=False)

        def _answer(self, has_body: bool) -> None:
            hub.asked.append((self.command, self.path, self.headers.get("Range")))
            if hub.always or hub.statuses:
                self._refuse(hub.always or hub.statuses.pop(0))
            elif (info := _INFO.fullmatch(self.path)) and (files := hub.sets.get(info["repo"])) is not None:
                known = (None, "main", hub.commit(info["repo"]))
                if info["revision"] not in known and not hub.ignores_revisions:
                    self._refuse(404, "RevisionNotFound")
                    return
                siblings = [{"rfilename": name, **hub.stored(name, content)} for name, content in files.items()]
                plain = {
                    "id": info["repo"],
                    "sha": hub.commit(info["repo"]),
                    "siblings": siblings,
                    "private": False,
                    "tags": [],
                }
                self._send(json.dumps({**plain, "downloads": 0, "likes": 0}).encode(), {}, has_body)
            elif (place := _FILE.fullmatch(self.path)) and (files := hub.sets.get(place["repo"])) is not None:
                content = files.get(place["file"])
                if content is None:
                    self._refuse(404, "EntryNotFound")
                else:
                    headers = {
                        "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                        "X-Repo-Commit": hub.commit(place["repo"]),
                    }
                    self._send(content, headers, has_body)
            else:
                self._refuse(404, "RepoNotFound")

        def _refuse(self, status: int, code: str | None = None) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            if status == 429:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, content: bytes, headers: Mapping[str, str], has_body: bool) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            begin = int(wanted[1]) if wanted else 0
            self.send_response(206 if wanted else 200)
            for name, value in headers.items():
                self.send_header(name, value)
            if wanted:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            if has_body and headers and hub.cut_after:
                self.wfile.write(content[begin : begin + hub.cut_after.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
            elif has_body:
                self.wfile.write(content[begin:])

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
