"""A fastText model's file: how long it says it is, and whether fastText can load it, tried where it can do no harm.

fastText reads on behind the end of a file: of one that is cut short it crashes, grows without end, or takes weights for
zero without a word. Run as a program, this module loads a model and prints its labels.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.system import limit_memory

_MAGIC = 793712314
_ARGUMENTS = struct.calcsize("<12id")
_CENTROIDS = 256
_REMEDY = "download it again"
_MEMORY = 4 << 30
_MEMORY_A_BYTE = 4
_SECONDS = 60
_BYTES_A_SECOND = 10_000_000


def read_labels(key: str, path: Path) -> list[str]:
    """Load a model in a process of its own, whose memory and time are limited by the file's size.

    Args:
        key: the option that names it, for messages.

    Returns:
        The labels that it knows.

    Raises:
        UserError: the file is cut short, or fastText cannot load it; one line.
    """
    size = path.stat().st_size
    expected = expected_bytes(path)
    if expected is not None and expected > size:
        raise UserError(f"{key}={path}: cut short: it has {size:,} bytes of at least {expected:,}; {_REMEDY}")
    if expected is not None and (dimension := _dimension(path)) < 1:
        raise UserError(f"{key}={path}: damaged: it says that its vectors have {dimension} numbers; {_REMEDY}")
    seconds = _SECONDS + size // _BYTES_A_SECOND
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", __spec__.name, str(path), str(_MEMORY + _MEMORY_A_BYTE * size)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise UserError(f"{key}={path}: fastText has not loaded it in {seconds} seconds; {_REMEDY}") from None
    answer: dict[str, Any] = (
        json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": _ended(done)}
    )
    if "error" in answer:
        raise UserError(f"{key}={path}: {answer['error']}; {_REMEDY}")
    return list(answer["labels"])


def expected_bytes(path: Path) -> int | None:
    """Return how long a model's file says it is, as far as it can be read; None if it is no model of fastText's."""
    with path.open("rb") as file:
        if file.read(4) != struct.pack("<i", _MAGIC):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            cursor = _Cursor(content)
            try:
                cursor.skip(8 + _ARGUMENTS)
                cursor.dictionary()
                is_quantized = cursor.matrix(quantized=cursor.flag())
                cursor.matrix(quantized=cursor.flag() and is_quantized)
            except struct.error:
                return len(content) + 1
            return cursor.position


def _dimension(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(8)
        return int(struct.unpack("<i", file.read(4))[0])


class _Cursor:
    """A place in a file that moves on over what is there or should be.

    Raises:
        struct.error: a number that is needed lies behind the end.
    """

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self.position = 0

    def skip(self, size: int) -> None:
        if size < 0:
            raise struct.error("a size below 0")
        self.position += size

    def numbers(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from(form, self._content, self.position)
        self.position += struct.calcsize(form)
        return found

    def flag(self) -> bool:
        return bool(self.numbers("<?")[0])

    def dictionary(self) -> None:
        words, _, _, _, pruned = self.numbers("<iiiqq")
        for _ in range(words):
            end = self._content.find(b"\0", self.position)
            if end < 0:
                raise struct.error("a word that does not end")
            self.position = end + 1 + struct.calcsize("<qb")
        self.skip(8 * max(pruned, 0))

    def matrix(self, quantized: bool) -> bool:
        """Pass a matrix; return whether it is a quantized one."""
        if not quantized:
            rows, columns = self.numbers("<qq")
            self.skip(4 * rows * columns)
            return False
        has_norms, rows, _, codes = self.numbers("<?qqi")
        self.skip(codes)
        self._quantizer()
        if has_norms:
            self.skip(rows)
            self._quantizer()
        return True

    def _quantizer(self) -> None:
        dimension, *_ = self.numbers("<iiii")
        self.skip(4 * dimension * _CENTROIDS)


def _ended(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"fastText crashes when it loads it ({signal.Signals(-done.returncode).name})"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return f"fastText cannot load it ({said[-1] if said else f'exit code {done.returncode}'})"


def _load(path: str, memory: int) -> dict[str, object]:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_memory(memory)
    from fasttext.FastText import _FastText

    try:
        model = _FastText(path)
        model.predict("a word", k=1)
    except (ValueError, MemoryError) as error:
        return {"error": " ".join(str(error).split()) or "not enough memory"}
    return {"labels": list(model.get_labels())}


if __name__ == "__main__":
    print(json.dumps(_load(sys.argv[1], int(sys.argv[2]))))
