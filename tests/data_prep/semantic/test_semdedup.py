from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from custom_modules.data_steps.options import SemDedupOptions
from custom_modules.errors import UserError
from data_prep.across.semdedup import nearest_before
from data_prep.clean.build import build_steps
from data_prep.input.documents import Removal
from data_prep.semantic.clusters import assign, fit
from data_prep.semantic.embeddings import VectorCorpus
from data_prep.semantic.vectors import cosines, normalized
from tests.support.semantic import semantic_removals as removals


def options(**given: Any) -> SemDedupOptions:
    return SemDedupOptions(encoder="unused", **given)


def gone(paths: list[Path], found: dict[Path, list[tuple[int, Removal]]]) -> list[int]:
    """Positions in the corpus."""
    begins = VectorCorpus.open(paths).offsets
    return [int(begin) + row for path, begin in zip(paths, begins, strict=False) for row, _ in found[path]]


def test_planted_copies_go_and_one_of_each_group_stays(
    planted: Callable[..., Any], shards: Callable[..., list[Path]], tmp_path: Path
) -> None:
    corpus = planted()
    paths = shards(tmp_path, corpus.vectors, (400, 1000, 1000))
    found = gone(paths, removals(paths, fit(paths, options()), options(max_cosine=0.97)))
    groups, sizes = np.unique(corpus.original, return_counts=True)
    surplus = dict(zip(groups, sizes - 1, strict=True))
    removed = dict(zip(*np.unique(corpus.original[found], return_counts=True), strict=True))
    right = sum(min(count, surplus[group]) for group, count in removed.items())
    assert right >= 0.95 * len(found)
    assert right >= 0.95 * (sizes - 1).sum()


def one_by_one(rows: NDArray[np.float32], max_cosine: float) -> list[tuple[int, float]]:
    """The definition, with python's sums."""
    found = []
    for index, row in enumerate(rows.astype(np.float64)):
        similar = [(sum((row * other).tolist()), -before) for before, other in enumerate(rows[:index])]
        best = max(similar, default=(-2.0, 1))
        found.append((-best[1], best[0]) if best[0] > max_cosine else (-1, max_cosine))
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 40),
    dimension=st.integers(1, 6),
    block=st.integers(1, 45),
    max_cosine=st.floats(0.2, 0.999),
)
def test_blocks_find_what_comparing_one_by_one_finds(
    seed: int, count: int, dimension: int, block: int, max_cosine: float
) -> None:
    source = np.random.default_rng(seed)
    distinct = source.normal(size=(count, dimension)).astype(np.float32)
    rows = normalized(distinct[source.integers(max(count, 1), size=count)])
    before, cosine = nearest_before(rows, max_cosine, block)
    assert list(zip(before.tolist(), cosine.tolist(), strict=True)) == one_by_one(rows, max_cosine)


@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
def test_the_one_to_keep_is_chosen_by_its_likeness_to_the_centroid(
    keep: str, shards: Callable[..., list[Path]], tmp_path: Path
) -> None:
    angles = np.radians([5.0, 6.0, 7.0, -40.0])
    paths = shards(tmp_path, np.stack([np.cos(angles), np.sin(angles)], axis=1), (1,))
    centroid = np.array([[1, 0]], np.float32)
    survivors = set()
    for seed in range(20):
        chosen = options(keep=keep, max_cosine=0.99, seed=seed)
        found = removals(paths, centroid, chosen)
        assert {removal.step for rows in found.values() for _, removal in rows} == {"semdedup"}
        (survivor,) = {0, 1, 2, 3} - {3} - set(gone(paths, found))
        survivors.add(survivor)
    assert survivors == {"hard": {2}, "easy": {0}, "random": {0, 1, 2}}[keep]


def test_a_removal_names_the_cosine_and_the_document_kept(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    angles = np.radians([10.0, 20.0, 30.0, 90.0])
    paths = shards(tmp_path, np.stack([np.cos(angles), np.sin(angles)], axis=1), (2,))
    found = removals(paths, np.array([[1, 0]], np.float32), options(max_cosine=0.98))
    cosine = f"{np.cos(np.radians(10)):.4f}"
    assert found[paths[1]] == []
    assert [(row, removal.detail) for row, removal in found[paths[0]]] == [
        (0, f"cosine {cosine}, kept 00001.npy:0"),
        (1, f"cosine {cosine}, kept 00001.npy:0"),
    ]


def test_a_removed_document_is_near_one_before_it_and_names_one_that_stays(
    planted: Callable[..., Any], shards: Callable[..., list[Path]], tmp_path: Path
) -> None:
    (path,) = shards(tmp_path, planted(noise=0.3).vectors)
    copies = removals([path], fit([path], options()), options(max_cosine=0.9))[path]
    assert len(copies) > 100
    told = [re.fullmatch(rf"cosine (\d\.\d+), kept {path.name}:(\d+)", removal.detail) for _, removal in copies]
    assert not {int(each[2]) for each in told if each} & {row for row, _ in copies}
    assert all(each and float(each[1]) > 0.9 for each in told)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_neither_the_cut_nor_the_memory_nor_the_order_of_shards_changes_what_goes(
    data: st.DataObject,
    planted: Callable[..., Any],
    shards: Callable[..., list[Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    vectors = planted(topics=6, originals=200, copies=60, dimension=8).vectors
    keep = data.draw(st.sampled_from(["hard", "easy", "random"]))
    chosen = options(max_cosine=0.95, keep=keep, sample=150)
    whole = shards(tmp_path_factory.mktemp("whole"), vectors)
    expected = removals(whole, fit(whole, chosen), chosen)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(vectors)), max_size=6)))
    cut = shards(tmp_path_factory.mktemp("cut"), vectors, cuts)
    for paths in (cut, data.draw(st.permutations(cut))):
        less = replace(chosen, rows_in_memory=data.draw(st.integers(1, 300)))
        centroids = fit(paths, chosen)
        assert np.array_equal(centroids, fit(whole, chosen))
        assert gone(cut, removals(paths, centroids, less)) == gone(whole, expected)


def test_no_more_than_some_vectors_of_small_clusters_are_read_at_a_time(
    planted: Callable[..., Any], shards: Callable[..., list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = VectorCorpus.open(shards(tmp_path, planted(originals=400, copies=0).vectors))
    centroids = fit(corpus.paths, options(clusters=30))
    largest = int(np.bincount(assign(corpus, centroids, 0).labels).max())
    read, rows = list[int](), VectorCorpus.rows

    def noted(self: VectorCorpus, positions: Any) -> Any:
        read.append(len(positions))
        return rows(self, positions)

    monkeypatch.setattr(VectorCorpus, "rows", noted)
    removals(corpus.paths, centroids, options(rows_in_memory=largest + 5, seed=0))
    assert sum(read) == 400 and max(read) <= largest + 5 and len(read) < 30


def test_of_the_very_same_vectors_the_first_stays(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 16))
    paths = shards(tmp_path, np.concatenate([vectors, 2 * vectors, vectors]), (31, 62))
    found = removals(paths, fit(paths, options()), options(max_cosine=0.999))
    assert gone(paths, found) == list(range(30, 90))
    assert found[paths[2]][-1][1].detail == "cosine 1.0000, kept 00000.npy:29"


def test_what_is_left_out_is_no_copy_and_has_none(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 16))
    paths = shards(tmp_path, np.concatenate([vectors, vectors]), (30,))
    without = {paths[0]: {0, 1, 2, 3, 4}, paths[1]: [29]}
    found = removals(paths, fit(paths, options(), without), options(max_cosine=0.999), without)
    assert gone(paths, found) == list(range(35, 59))


def test_cosines_are_the_same_bits_however_they_are_grouped(planted: Callable[..., Any]) -> None:
    rows = normalized(planted(dimension=384, originals=250, copies=0).vectors)
    whole = cosines(rows, rows)
    pieces = [cosines(rows[begin : begin + 7], rows[:, :]) for begin in range(0, len(rows), 7)]
    assert np.array_equal(whole, np.concatenate(pieces))
    backwards = cosines(rows[:, ::-1], rows[:, ::-1])
    assert np.array_equal(whole, backwards)


def test_centroids_of_another_dimension_are_refused(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    paths = shards(tmp_path, np.ones((3, 4)))
    with pytest.raises(UserError, match=r"00000.npy: vectors of 4 numbers, the centroids have 5"):
        removals(paths, np.ones((1, 5), np.float32), options())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_cosine": 1.5}, r"^data.steps.semdedup.max_cosine=1.5: must be float above 0, below 1$"),
        ({"keep": "all"}, r"^data.steps.semdedup.keep=all: must be hard or easy or random$"),
        ({"epsilon": 0.1}, r"^data.steps.semdedup.epsilon=0.1: no such option; use encoder, "),
        ({"clusters": 0}, r"^data.steps.semdedup.clusters=0: must be int from 1 or null$"),
    ],
)
def test_wrong_options_are_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_steps({"semdedup": {"encoder": "unused", **given}})


def test_an_encoder_has_to_be_given() -> None:
    with pytest.raises(UserError, match=r"^data.steps.semdedup.encoder: not set; bring a sentence encoder"):
        build_steps({"semdedup": {}})
