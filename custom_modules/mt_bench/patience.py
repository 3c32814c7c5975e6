"""How long a judge is waited for; apart from what asks it, so that a command line can be read without that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How long a judge is waited for.

    Attributes:
        timeout: seconds that one request may take.
        first_wait: seconds before the first new try, which doubles with each, up to a minute.
        limit: seconds after which a request that has never been answered is given up.
    """

    timeout: float = 300.0
    first_wait: float = 1.0
    limit: float = 900.0
