"""Files of JSON lines: the user's, read as they are; and ours, which grow by whole lines that are on the disk."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.file_writer import FileWriter
from custom_modules.files import explained, readable, sync


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON objects, one a line; blank lines are passed over.

    Raises:
        UserError: it cannot be read, or a line is no JSON object; it is named.
    """
    with readable(path):
        lines = path.read_bytes().split(b"\n")
    return [_record(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


class JsonLines:
    """A file that records are appended to, each as a whole line that is on the disk before `append` returns.

    What a killed process has left of a last line is dropped with the first new one. Threads may append.

    Attributes:
        path: the file; it may not be there yet.
        records: what is in it, in its order.

    Raises:
        UserError: it cannot be read, or a line before the last is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self._kept, self._lacks_end = 0, False
        self._file: FileWriter | None = None
        self._closed = False
        self._lock = threading.Lock()
        if path.exists():
            self._read()

    def _read(self) -> None:
        with readable(self.path):
            content = self.path.read_bytes()
        whole, newline, last = content.rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        self.records = [_record(self.path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        self._kept = len(whole) + len(newline)
        try:
            record = json.loads(last)
        except ValueError:
            return
        if isinstance(record, dict):  # all of the line but its end was written
            self.records.append(record)
            self._kept, self._lacks_end = len(content), True

    def append(self, record: dict[str, Any]) -> None:
        """Write a record at the end of the file, and put it on the disk.

        Raises:
            UserError: the disk refuses.
        """
        line = json.dumps(record).encode() + b"\n"
        with self._lock:
            assert not self._closed, f"{self.path} is closed"
            if self._file is None:
                self._file = self._open()
            self._file.write(line)
            self._file.sync()
            self.records.append(record)

    def _open(self) -> FileWriter:
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = FileWriter(self.path, self._kept)
            sync(self.path.parent)
        if self._lacks_end:
            file.write(b"\n")
        return file

    def close(self) -> None:
        """Take no more records: no thread writes into the file from now on."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.abandon()


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: not JSON ({error}); put that line right, or remove it") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}:{number}: not a JSON object; put that line right, or remove it")
    return record
