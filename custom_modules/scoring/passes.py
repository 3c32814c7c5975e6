"""Forward passes of one shape each, dealt out whole to the processes that have a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Pass:
    """What a model computes at once."""

    length: int
    """Of each row, filled up."""
    count: int
    """Of rows, filled up."""
    members: tuple[int, ...]
    """The rows' numbers."""
    at_once: int = 0
    """Positions that the output layer computes at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and their length."""
        return self.count, self.length


@dataclass(frozen=True)
class Ranks:
    """The processes that have a whole model each, or share one."""

    number: int = 0
    """Which of the models is this process's."""
    count: int = 1
    """Models that passes are dealt out to."""
    gather: Callable[[Any], Sequence[Any]] = lambda value: [value]
    """Gives every process what each has passed. Collective."""
    on_first: Callable[[Callable[[], Any]], Any] = lambda work: work()
    """Has the first process do something, and gives every one what that gave, or raised. Collective."""


def deal_out(
    count: int,
    compute: Callable[[Sequence[int]], Mapping[int, T]],
    ranks: Ranks,
    batch_size: int,
    known: Mapping[int, T] | None = None,
    done: Callable[[Mapping[int, T]], None] | None = None,
) -> dict[int, T]:
    """Compute so many passes. Collective.

    Args:
        compute: gives what passes' rows have; of those that another process has the result of, nothing.
        batch_size: passes of each model at a time.
        known: passes that were computed before; the same on every process.
        done: is told on every process what was computed, as soon as all have their share.

    Returns:
        By the pass's number, on every process.
    """
    found = dict(known or {})
    missing = [number for number in range(count) if number not in found]
    for turn in _chunks(missing, batch_size * ranks.count):
        mine = turn[ranks.number :: ranks.count]
        # Ranks that divide the weights gather them together: each passes forward as often as the others.
        idle = -(-len(turn) // ranks.count) - len(mine)
        computed = compute([*mine, *[turn[0]] * idle])
        shares = ranks.gather({number: computed[number] for number in mine if number in computed})
        of_all = {number: result for share in shares for number, result in share.items()}
        found.update(of_all)
        if done is not None:
            done(of_all)
    return found


def _chunks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for begin in range(0, len(numbers), size):
        yield numbers[begin : begin + size]
