from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from custom_modules.errors import UserError
from data_prep.semantic.embeddings import VectorCorpus, embed_shard, write_vectors
from data_prep.semantic.vectors import normalized


class Lengths:
    """A text's vector: its length and 1."""

    def embed(self, texts: Any) -> Any:
        return np.array([[len(text), 1] for text in texts], np.float32).reshape(-1, 2)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_shard_holds_the_vectors_of_its_texts_in_order(dtype: Any, tmp_path: Path) -> None:
    path = tmp_path / "00000.npy"
    embed_shard(Lengths(), ["a", "", "long"], path, dtype)
    vectors = np.load(path)
    assert vectors.dtype == dtype and vectors.tolist() == [[1, 1], [0, 1], [4, 1]]
    embed_shard(Lengths(), [], path, dtype)
    assert np.load(path).shape == (0, 2)


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "00000.npy"
    write_vectors(path, np.ones((2, 2)))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match=r"00000.npy: No space left"):
        patch.setattr(np, "save", _full)
        write_vectors(path, np.zeros((3, 2)))
    assert [file.name for file in tmp_path.iterdir()] == ["00000.npy"]
    assert np.array_equal(np.load(path), np.ones((2, 2)))


def _full(*arguments: Any, **keywords: Any) -> None:
    raise OSError(28, "No space left on device")


def test_documents_are_found_by_position_over_all_shards(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    paths = shards(tmp_path, vectors, (5, 5, 12))
    corpus = VectorCorpus.open(paths, {paths[2]: {0, 6}})
    positions, rows = (np.concatenate(pieces) for pieces in zip(*corpus.blocks(), strict=True))
    expected = np.setdiff1d(np.arange(20), [5, 11])
    assert corpus.documents == 18 and np.array_equal(positions, expected)
    assert np.array_equal(rows, normalized(vectors)[expected])
    mixed = np.array([19, 4, 5, 12, 4])
    assert np.array_equal(corpus.rows(mixed), normalized(vectors)[mixed])
    assert corpus.places(mixed) == [(paths[3], 7), (paths[0], 4), (paths[2], 0), (paths[3], 0), (paths[0], 4)]


def test_a_broken_shard_is_refused_by_name(shards: Callable[..., list[Path]], tmp_path: Path) -> None:
    paths = shards(tmp_path, np.ones((6, 3)), (3,))
    whole = paths[1].read_bytes()
    for content, message in (
        (whole[:-10], "no whole .npy file; delete it"),
        (whole[:20], "no whole .npy file; delete it"),
        (b"", "no whole .npy file; delete it"),
        (None, "No such file or directory"),
    ):
        if content is None:
            paths[1].unlink()
        else:
            paths[1].write_bytes(content)
        with pytest.raises(UserError, match=f"00001.npy: {message}"):
            VectorCorpus.open(paths)
    for wrong, message in (
        (np.ones(3), "not vectors"),
        (np.ones((3, 3), int), "not vectors"),
        (np.ones((3, 4)), "of 4"),
    ):
        np.save(paths[1], wrong)
        with pytest.raises(UserError, match=f"00001.npy: .*{message}"):
            VectorCorpus.open(paths)


def test_a_vector_that_is_not_finite_is_neither_written_nor_read(tmp_path: Path) -> None:
    vectors = np.ones((4, 2))
    vectors[2, 1] = np.nan
    path = tmp_path / "00000.npy"
    with pytest.raises(UserError, match=r"00000.npy: the vector of document 2 is not finite"):
        write_vectors(path, vectors)
    np.save(path, vectors)
    with pytest.raises(UserError, match=r"00000.npy: the vector of document 2 is not finite"):
        list(VectorCorpus.open([path]).blocks())


def test_a_row_of_zeros_stays_one_and_others_get_length_one() -> None:
    rows = normalized(np.array([[0, 0], [3, 4], [-1e-30, 0]]))
    assert rows.dtype == np.float32 and np.allclose(rows, np.array([[0, 0], [0.6, 0.8], [-1, 0]]))
