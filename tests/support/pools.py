"""A pool whose calls run here, in any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from data_prep.work.workers import Result


class Here:
    """A `data_prep.work.workers.Pool` without processes: results come in a random order."""

    def __init__(self, seed: int = 0) -> None:
        self._source = random.Random(seed)

    def run(self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Result]]:
        every = list(enumerate(calls))
        self._source.shuffle(every)
        return ((index, function(*arguments)) for index, arguments in every)

    def warm_up(self, function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)
