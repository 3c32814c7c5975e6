"""How far an evaluation is, and where it stops when that is asked for."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from custom_modules.errors import StoppedBySignal
from custom_modules.evaluation.processes import Processes
from custom_modules.scoring.scorer import Prepared
from custom_modules.text import human_duration, say

_SAID_EVERY = 10.0
"""Seconds between lines that say how far it is."""


class Progress:
    """Is told of tokens as they are done, on every process.

    Args:
        stopped: gives the number of a signal that asks this process for a stop, else 0.
        output: the folder that has what is answered so far.
    """

    def __init__(self, prepared: Prepared, stopped: Callable[[], int], processes: Processes, output: Path) -> None:
        self._total = prepared.rows.tokens + prepared.prompts.tokens
        self._done = self._before = prepared.known_tokens
        self._stopped, self._processes, self._output = stopped, processes, output
        self._begun = self._said = time.monotonic()

    def __call__(self, tokens: int) -> None:
        """Note so many tokens more. Collective.

        Raises:
            StoppedBySignal: any process was asked for a stop, and something is left to do.
        """
        self._done += tokens
        now = time.monotonic()
        is_due = now - self._said >= _SAID_EVERY and self._done < self._total
        if self._processes.world.rank == 0 and is_due:
            self._said = now
            speed = (self._done - self._before) / (now - self._begun)
            left = human_duration((self._total - self._done) / speed)
            say(f"{self._done:,} of {self._total:,} tokens, {speed:,.0f} tokens/s, about {left} left")
        number = max(self._processes.ranks.gather(self._stopped()))
        if number and self._done < self._total:
            raise StoppedBySignal(
                f"{signal.Signals(number).name}: stopped; what is answered so far is in {self._output}, and the same "
                "command goes on"
            )
