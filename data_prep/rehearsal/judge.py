"""``python -m data_prep.rehearsal.judge COMMAND...``: a judge of our own for as long as a command takes.

It serves an OpenAI-compatible ``/chat/completions`` on the loopback, and runs the command with ``--judge`` and
``--judge-model`` behind its words; its exit code is the command's. Without a command it says its address and serves
until Ctrl-C. It rates by a plain rule, the same every time, and knows nothing of what is true: what is rehearsed is the
way a real one is asked.

It reads prompts of `data_prep.rehearsal.mt_bench`, which has each text between two tags.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "rehearsal"
"""What the API calls its one model."""
_ENDPOINT = "/v1/chat/completions"
_TEXT = re.compile(r"<(question|reference|answer)>\n(.*?)\n</\1>", re.DOTALL)
_WORD = re.compile(r"\w+")
_LONGEST_WORDS = 1 << 20


def rate(prompt: str) -> str:
    """Judge the last answer in a prompt by the words that it shares with the last reference, else with the question.

    The rating goes from 1, for no word in common, to 10, for the same ones: it is the F1 score of their counts.

    Returns:
        A sentence, and the rating as ``[[x]]``; no rating for a prompt without an answer between tags.
    """
    texts: dict[str, str] = dict(_TEXT.findall(prompt))
    expected = texts.get("reference", texts.get("question"))
    if expected is None or "answer" not in texts:
        return "There is no answer here that could be rated."
    ours, theirs = (Counter(map(str.lower, _WORD.findall(text))) for text in (texts["answer"], expected))
    shared, total = (ours & theirs).total(), ours.total() + theirs.total()
    rating = 1 + 9 * (2 * shared / total if total else 0)
    what = "reference" if "reference" in texts else "question"
    return (
        f"{shared} words are in both, the answer's {ours.total()} and the {what}'s {theirs.total()}. [[{rating:.1f}]]"
    )


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer with the judgment of the last message."""
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != _ENDPOINT or length > _LONGEST_WORDS:
            self._send(404, {"error": {"message": f"only {_ENDPOINT} is here, for messages of up to {_LONGEST_WORDS}"}})
            return
        try:
            asked = json.loads(self.rfile.read(length))
            prompt = str(asked["messages"][-1]["content"])
        except (ValueError, LookupError, TypeError):
            self._send(400, {"error": {"message": "no messages"}})
            return
        if asked.get("model") != NAME:
            self._send(404, {"error": {"message": f"no model {asked.get('model')!r}, only {NAME!r}"}})
            return
        message = {"role": "assistant", "content": rate(prompt)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._send(200, {"object": "chat.completion", "model": NAME, "choices": [choice]})

    def _send(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: whoever asks says what it has got."""


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """Serve on the loopback until the context ends, and give the address for ``--judge``.

    Args:
        port: 0 for a free one.

    Raises:
        OSError: the port is in use.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{_ENDPOINT.removesuffix('/chat/completions')}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main(arguments: Sequence[str]) -> int:
    """Serve, and run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.judge", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="such as danube mt-bench MODEL --bench FOLDER")
    given = parser.parse_args(arguments)
    with serving(given.port) as address:
        if given.command:
            return subprocess.run([*given.command, "--judge", address, "--judge-model", NAME]).returncode
        print(f"--judge {address} --judge-model {NAME}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
