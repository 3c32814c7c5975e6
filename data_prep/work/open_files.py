"""How many files a process may have open."""

from __future__ import annotations

import resource


def allow_open_files() -> int:
    """Raise this process's limit, and that of those it starts from now on, to what the system allows; return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
