"""Which candidates are trained on, and which are held out: copies, splits and the drawing of ``max_samples``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.conversations.read_unit import read_digests


class Choice(IntEnum):
    """What becomes of a candidate."""

    TRAIN = 0
    VALIDATION = 1
    COPY = 2
    NOT_DRAWN = 3


@dataclass(frozen=True)
class Drawing:
    """What defines the choice beside the candidates."""

    seed: int
    validation_fraction: float
    names: tuple[str, ...]
    """The sources, in their order."""
    max_samples: tuple[int | None, ...]
    """Of each source, how many are trained on; as many more as the fraction says are held out. None: all of it."""


def choose(folders: Sequence[Path], sources: Sequence[int], drawing: Drawing) -> list[NDArray[np.uint8]]:
    """Return the choice of each candidate of each unit, [candidates] uint8.

    Of copies the first one stays, in the order of the units, whatever its source. Those are held out whose first
    question has the lowest hash, so that no question is both trained on and held out. Memory: 60 bytes a candidate.

    Args:
        folders: what `read_unit` made of the units.
        sources: the number of each unit's source.
    """
    pairs = [read_digests(folder) for folder in folders]
    lengths = [len(firsts) for _, firsts in pairs]
    digests = np.concatenate([digests for digests, _ in pairs]) if pairs else np.empty((0, 2), np.uint64)
    firsts = np.concatenate([firsts for _, firsts in pairs]) if pairs else np.empty(0, np.uint64)
    source = np.repeat(np.asarray(sources, np.int32), lengths)
    chosen = np.full(len(firsts), Choice.TRAIN, np.uint8)
    copies = _copies(digests)
    chosen[firsts <= _bound(np.delete(firsts, copies), drawing.validation_fraction)] = Choice.VALIDATION
    chosen[copies] = Choice.COPY
    for number, (name, limit) in enumerate(zip(drawing.names, drawing.max_samples, strict=True)):
        if limit is not None:
            keys = _scrambled(digests[:, 0] ^ np.uint64(_number(drawing.seed, name)))
            held_out = max(1, round(limit * drawing.validation_fraction))
            for split, wanted in ((Choice.TRAIN, limit), (Choice.VALIDATION, held_out)):
                inside = np.flatnonzero((source == number) & (chosen == split))
                if len(inside) > wanted:
                    order = np.argsort(keys[inside], kind="stable")
                    chosen[inside[order[wanted:]]] = Choice.NOT_DRAWN
    return np.split(chosen, np.cumsum(lengths)[:-1]) if lengths else []


def _copies(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """[copies]: the numbers of all but the first of equal rows."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    return order[1:][same]


def _bound(firsts: NDArray[np.uint64], fraction: float) -> np.uint64:
    """The hash of a first question up to which a fraction of the candidates is, and at least one."""
    if not len(firsts):
        return np.uint64(0)
    last = max(round(len(firsts) * fraction), 1) - 1
    return np.uint64(np.partition(firsts, last)[last])


def _number(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), "little")


def _scrambled(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return another number for each, in no order: the finalizer of splitmix64."""
    mixed = values.copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
