"""Limits of this process that hold for a while."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Fail as a full disk does, in the middle of a write, where a file would have more bytes."""
    with _limit(resource.RLIMIT_FSIZE, size):
        yield


@contextmanager
def more_open_files(count: int) -> Iterator[None]:
    """Let this process open that many files beside those that are open."""
    with _limit(resource.RLIMIT_NOFILE, len(list(Path("/proc/self/fd").iterdir())) + count):
        yield


@contextmanager
def _limit(kind: int, value: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)
