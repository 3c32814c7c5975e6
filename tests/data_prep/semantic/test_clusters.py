from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.data_steps.options import SemanticOptions
from custom_modules.errors import UserError
from data_prep.semantic import clusters
from data_prep.semantic.clusters import assign, cluster_count, fit, nearest, sample_vectors
from data_prep.semantic.embeddings import VectorCorpus
from data_prep.semantic.vectors import cosines, normalized, row_keys


def options(**given: Any) -> SemanticOptions:
    return SemanticOptions(encoder="unused", **given)


def test_centroids_are_on_the_sphere_one_in_each_topic(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    source = np.random.default_rng(1)
    topics = np.repeat(np.eye(6, 32), 100, axis=0) + 0.03 * source.normal(size=(600, 32))
    paths = shards(tmp_path, topics * source.uniform(0.1, 10, size=(600, 1)), (333,))
    centroids = fit(paths, options(clusters=6))
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    labels = assign(VectorCorpus.open(paths), centroids, seed=0).labels.reshape(6, 100)
    assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 6


def test_the_number_of_clusters_follows_from_the_corpus(
    planted: Callable[..., Any], shards: Callable[..., list[Path]], tmp_path: Path
) -> None:
    assert [cluster_count(*sizes) for sizes in ((440_000_000, 10**6), (10_000, 10_000), (10**9, 200_000), (3, 3))] == [
        20_976,
        100,
        12_500,
        1,
    ]
    paths = shards(tmp_path, planted(originals=1000, copies=0).vectors)
    assert fit(paths, options()).shape == (31, 64)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 90), rows_at_once=st.integers(1, 300), cut=st.integers(0, 270))
def test_the_sample_is_the_different_vectors_with_the_smallest_keys(
    size: int,
    rows_at_once: int,
    cut: int,
    planted: Callable[..., Any],
    shards: Callable[..., list[Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    vectors = planted(topics=3, originals=70, copies=0, dimension=5).vectors
    vectors = vectors[np.random.default_rng(size).integers(70, size=270)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_prep.semantic.embeddings._ROWS_AT_ONCE", rows_at_once)
        corpus = VectorCorpus.open(shards(tmp_path_factory.mktemp("sample"), vectors, (cut,)))
        found = sample_vectors(corpus, size, seed=5)
    distinct = np.unique(normalized(vectors), axis=0)
    assert np.array_equal(found, distinct[np.argsort(row_keys(distinct, 5))][:size])


def test_what_is_left_out_has_no_part_in_the_centroids(
    planted: Callable[..., Any], shards: Callable[..., list[Path]], tmp_path: Path
) -> None:
    vectors = planted(originals=300, copies=0).vectors
    paths = shards(tmp_path / "all", vectors, (100,))
    left = shards(tmp_path / "left", np.delete(vectors, np.arange(50, 180), axis=0))
    found = fit(paths, options(), {paths[0]: range(50, 100), paths[1]: range(80)})
    assert np.array_equal(found, fit(left, options()))


def test_centroids_in_blocks_give_the_nearest_of_all(planted: Callable[..., Any]) -> None:
    rows = normalized(planted(originals=300, copies=0, dimension=16).vectors)
    centroids = np.concatenate([rows[:70], rows[:70]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "_BLOCK", 32)
        labels, best = nearest(rows, centroids)
    every = cosines(rows, centroids)
    assert np.array_equal(labels, every.argmax(axis=1)) and np.array_equal(best, every.max(axis=1))


@pytest.mark.parametrize(
    ("count", "given", "message"),
    [
        (0, {}, "data.input: none of its documents is left in 1 shards"),
        (9, {"clusters": 10}, "clusters=10: there are only 9 different vectors"),
    ],
)
def test_what_cannot_be_clustered_is_refused(
    count: int, given: dict[str, Any], message: str, shards: Callable[..., list[Path]], tmp_path: Path
) -> None:
    paths = shards(tmp_path, np.random.default_rng(0).normal(size=(count, 4)))
    with pytest.raises(UserError, match=message):
        fit(paths, options(**given))


def test_keys_look_random_and_depend_on_the_seed() -> None:
    rows = normalized(np.random.default_rng(0).normal(size=(4000, 3)))
    keys = row_keys(rows, 1)
    assert len(set(keys.tolist())) == 4000
    assert abs(np.mean(keys < np.uint64(2**63)) - 0.5) < 0.03
    assert not np.array_equal(keys, row_keys(rows, 2))
