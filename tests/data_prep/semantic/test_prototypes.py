from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.data_steps.options import PrototypeOptions
from data_prep.across.prototypes import find_smallest
from data_prep.semantic.clusters import fit
from data_prep.semantic.embeddings import VectorCorpus
from tests.support.semantic import semantic_removals as removals


def options(**given: Any) -> PrototypeOptions:
    return PrototypeOptions(encoder="unused", **given)


def gone(paths: list[Path], centroids: Any, chosen: PrototypeOptions, **more: Any) -> list[int]:
    found = removals(paths, centroids, chosen, **more)
    order = sorted(paths)
    begins = VectorCorpus.open(order).offsets
    return [int(begin) + row for path, begin in zip(order, begins, strict=False) for row, _ in found[path]]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40),
    share=st.floats(0, 1),
    size=st.integers(1, 40),
)
def test_the_smallest_are_those_of_a_whole_sort(values: list[tuple[int, int]], share: float, size: int) -> None:
    count = int(share * len(values))
    scores, keys = np.array(values, np.float64).reshape(-1, 2).T
    order = sorted(range(len(values)), key=lambda index: (*values[index], index))
    pieces = [(scores[begin:][:size], keys.astype(np.uint64)[begin:][:size]) for begin in range(0, len(values), size)]
    smallest, found = find_smallest(pieces, count), list[int]()
    ties = smallest.ties
    for number, piece in enumerate(pieces):
        found += (number * size + smallest.among(*piece, ties)).tolist()
        ties -= min(ties, smallest.count_ties(*piece))
    assert found == sorted(order[:count])


@pytest.mark.parametrize(("fraction", "count"), [(0, 0), (0.29, 29), (0.1, 10), (0.999, 99), (1 / 3, 33)])
def test_exactly_the_fraction_goes_over_all_shards(
    fraction: float, count: int, planted: Callable[..., Any], shards: Callable[..., list[Path]], tmp_path: Path
) -> None:
    paths = shards(tmp_path, planted(originals=90, copies=10).vectors, (1, 1, 60))
    found = removals(paths, fit(paths, options()), options(drop_fraction=fraction))
    assert sum(map(len, found.values())) == count


@pytest.mark.parametrize("keep", ["hard", "easy"])
def test_the_documents_typical_of_a_topic_are_those_near_to_its_prototype(
    keep: str, shards: Callable[..., list[Path]], tmp_path: Path
) -> None:
    source = np.random.default_rng(0)
    typical = np.arange(600) % 5 != 0
    topics = np.eye(32)[source.integers(8, size=600)]
    vectors = topics + np.where(typical, 0.02, 0.12)[:, None] * source.normal(size=(600, 32))
    paths = shards(tmp_path, vectors, (200, 350))
    chosen = options(keep=keep, drop_fraction=0.8 if keep == "hard" else 0.2, clusters=8)
    found = gone(paths, fit(paths, chosen), chosen)
    expected = np.flatnonzero(typical if keep == "hard" else ~typical)
    assert len(set(found) & set(expected.tolist())) >= 0.95 * len(expected)


def test_the_reason_names_the_distance(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    paths = shards(tmp_path, np.array([[1.0, 0.0], [0.0, 3.0], [1.0, 1.0]]))
    centroids = np.array([[1, 0]], np.float32)
    ((_, near),) = removals(paths, centroids, options(drop_fraction=0.34))[paths[0]]
    ((row, far),) = removals(paths, centroids, options(drop_fraction=0.34, keep="easy"))[paths[0]]
    assert (near.step, near.reason, near.detail) == ("prototypes", "near to its prototype", "distance 0.0000")
    assert (row, far.reason, far.detail) == (1, "far from its prototype", "distance 1.0000")


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_neither_the_cut_nor_the_order_of_shards_changes_what_goes(
    data: st.DataObject,
    planted: Callable[..., Any],
    shards: Callable[..., list[Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    vectors = planted(topics=6, originals=300, copies=0, dimension=8).vectors
    chosen = options(keep=data.draw(st.sampled_from(["hard", "easy"])), sample=150)
    whole = shards(tmp_path_factory.mktemp("whole"), vectors)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(vectors)), max_size=6)))
    cut = data.draw(st.permutations(shards(tmp_path_factory.mktemp("cut"), vectors, cuts)))
    assert gone(cut, fit(cut, chosen), chosen) == gone(whole, fit(whole, chosen), chosen)


def test_what_is_left_out_does_not_count(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    angles = np.radians(np.arange(10.0))
    paths = shards(tmp_path, np.stack([np.cos(angles), np.sin(angles)], axis=1), (5,))
    centroids = np.array([[1, 0]], np.float32)
    assert gone(paths, centroids, options(drop_fraction=0.5), without={paths[0]: {0, 2}}) == [1, 3, 4, 5]
