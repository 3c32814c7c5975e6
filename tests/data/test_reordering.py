"""Another order of what is left to read: of each part, epoch by epoch, and nothing else."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.data.reordering import Cut, PartCuts, open_order, places_in_parts, publish_orders


@st.composite
def parts(draw: st.DrawFn) -> list[PartCuts]:
    """Parts of one or more epochs, with as many cuts each, whose places rise or fall as rollbacks have them."""
    seeds = draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
        starts = tuple(int(start) for start in np.cumsum([0, *lengths]))
        found.append(PartCuts(starts, tuple(Cut(draw(st.integers(0, starts[-1])), seed) for seed in seeds)))
    return found


@settings(deadline=None, max_examples=40)
@given(parts())
def test_each_sample_once_an_epoch_and_none_before_the_cut_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, parts: list[PartCuts]
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    for count in range(1, len(parts[0].cuts) + 1):
        sofar = [PartCuts(starts, cuts[:count]) for starts, cuts in parts]
        folder = publish_orders(cache, sofar)
        before = publish_orders(cache, [PartCuts(starts, cuts[:-1]) for starts, cuts in sofar]) if count > 1 else None
        for number, (starts, cuts) in enumerate(sofar):
            order = open_order(folder, number)
            for begin, end in pairwise(starts):
                assert sorted(order[begin:end]) == list(range(begin, end))
            earlier = np.arange(starts[-1]) if before is None else open_order(before, number)
            place = cuts[-1].place
            assert np.array_equal(order[:place], earlier[:place])
            for begin, end in pairwise(starts):
                begin = max(begin, place)
                if begin < end:
                    assert sorted(order[begin:end]) == sorted(earlier[begin:end])


def test_it_is_another_order_for_each_seed_part_and_epoch(tmp_path: Path) -> None:
    starts = (0, 500, 1000)
    folder = publish_orders(tmp_path, [PartCuts(starts, (Cut(100, 1),))] * 2)
    other = publish_orders(tmp_path, [PartCuts(starts, (Cut(100, 2),))] * 2)
    one, two, three = open_order(folder, 0), open_order(folder, 1), open_order(other, 0)
    assert (one[100:500] == np.arange(100, 500)).mean() < 0.05
    for left, right in ((one, two), (one, three), (one[500:] - 500, one[:500])):
        assert (left[100:500] == right[100:500]).mean() < 0.05


def test_it_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    """From nothing or from the file of an earlier rollback; a damaged file is made again."""
    cuts = (Cut(10, 5), Cut(4, 6), Cut(30, 7))
    step_by_step = [publish_orders(tmp_path / "one", [PartCuts((0, 25, 60), cuts[:n])]) for n in (1, 2, 3)][-1]
    at_once = publish_orders(tmp_path / "two", [PartCuts((0, 25, 60), cuts)])
    whole = open_order(step_by_step, 0)
    assert np.array_equal(whole, open_order(at_once, 0))
    (at_once / "order_0.npy").write_bytes(b"")
    assert np.array_equal(whole, open_order(publish_orders(tmp_path / "two", [PartCuts((0, 25, 60), cuts)]), 0))


def test_places_in_parts() -> None:
    chosen = np.random.default_rng(0).integers(0, 3, 1000).astype(np.int16)
    for samples in (0, 1, 500, 1000):
        counted = Counter(int(part) for part in chosen[:samples])
        assert places_in_parts(chosen, 4, samples) == [counted[part] for part in range(4)]
