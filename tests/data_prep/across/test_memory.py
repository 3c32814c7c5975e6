"""Neither memory nor open files of the steps over the whole corpus grow with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import memory
from custom_modules.errors import UserError
from data_prep.across import exact, near_pairs, partitions, positions, semdedup, union
from data_prep.semantic import embeddings
from tests.support.limits import file_size_limit, more_open_files
from tests.support.pools import Here

STEPS = ("exact", "minhash", "semdedup", "prototypes")
SMALL = 1_000
BYTES_A_DOCUMENT = 6
"""Units here are a fortieth of real ones, and a unit takes some 1.5 kB: its paths, its size and its calls."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A corpus of some thousand documents is one of many pieces."""
    for module, names in (
        (exact, ["_AT_ONCE"]),
        (near_pairs, ["_IN_MEMORY", "_PAIRS_AT_ONCE", "_SAMPLED"]),
        (partitions, ["RECORDS"]),
        (positions, ["_DOCUMENTS_AT_ONCE"]),
        (union, ["_PAIRS_AT_ONCE", "_WRITTEN_AT_ONCE"]),
        (embeddings, ["_ROWS_AT_ONCE"]),
        (memory, ["SAMPLE", "ROWS"]),
    ):
        for name in names:
            monkeypatch.setattr(module, name, SMALL)
    monkeypatch.setattr(partitions, "_BUFFER_BYTES", 64 * SMALL)
    monkeypatch.setattr(semdedup, "_BLOCK", 50)
    monkeypatch.setattr(memory, "UNIT", 500)
    monkeypatch.setattr(memory, "CLUSTERS", 60)
    yield


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(step: str, small: None, tmp_path: Path) -> None:
    peaks, sizes = [], (2_000, 4_000, 16_000)
    for documents in sizes:
        folder = tmp_path / str(documents)
        (folder / "units").mkdir(parents=True)
        memory.make_units(step, documents, folder / "units")
        if documents > sizes[0]:  # the first imports what there is to import
            tracemalloc.start()
        try:
            assert memory.find(step, folder / "units", folder / "scratch", Here()) > documents / 10
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[2] - peaks[1] < BYTES_A_DOCUMENT * (sizes[2] - sizes[1]), peaks


@pytest.mark.parametrize("step", STEPS)
def test_few_files_are_open_however_many_units_there_are(step: str, small: None, tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    memory.make_units(step, 20_000, tmp_path / "units")
    with more_open_files(12):
        assert len(list((tmp_path / "units").iterdir())) == 40
        assert memory.find(step, tmp_path / "units", tmp_path / "scratch", Here()) > 2_000


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_is_said_in_a_line_that_names_the_file(step: str, small: None, tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    memory.make_units(step, 4_000, tmp_path / "units")
    message = rf"^{tmp_path}/scratch/\S+: File too large; put that right, and "
    with file_size_limit(8_000), pytest.raises(UserError, match=message):
        memory.find(step, tmp_path / "units", tmp_path / "scratch", Here())
