"""The evaluation data of a rehearsal."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from custom_modules.tasks.data_folder import MADE_UP, DataFolder, read_manifest
from custom_modules.tasks.datasets import DATA_SETS
from data_prep.rehearsal.evaluation import main


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal") / "evaluation"
    assert main([str(folder), "--documents", "12"]) == 0
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_known_set_is_there_in_its_columns(made: Path) -> None:
    """So many questions, and more examples than the longest prompts have; MMLU has two of each subject."""
    folder = DataFolder(made)
    assert folder.names() == list(DATA_SETS)
    assert {one.revision for one in read_manifest(made).data.values()} == {MADE_UP}
    for name, data_set in DATA_SETS.items():
        counts = {split: len(folder.table(data_set, split)) for split in data_set.documents}
        asked = 2 if name.startswith("mmlu_") else 12
        examples = {"train": 32, "dev": 5}
        assert counts == {split: examples.get(split, asked) for split in data_set.documents}
        assert (made / data_set.repository / "README.md").is_file()


def test_right_answers_end_their_sentences(made: Path) -> None:
    """And the others do not: they are the ends of others."""
    rows = [
        row
        for subject in (made / "cais" / "mmlu").glob("*/test-*.parquet")
        for row in parquet.read_table(subject).to_pylist()
    ]
    assert len(rows) == 2 * 57
    assert {row["answer"] for row in rows} == {0, 1, 2, 3}
    assert all(len(set(row["choices"])) == 4 and all(end.endswith(".") for end in row["choices"]) for row in rows)
    sums = parquet.read_table(made / "openai" / "gsm8k" / "main" / "test-00000-of-00001.parquet").to_pylist()
    for row in sums:
        first, second = (int(word) for word in row["question"].split() if word.isdigit())
        assert row["answer"].endswith(f"#### {first + second:,}")


def test_is_the_same_each_time_and_replaces_itself_only(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(made)
    assert main([str(made), "--documents", "12"]) == 0
    assert files(made) == before
    mine = made / "mine.txt"
    mine.write_text("mine")
    assert main([str(made), "--documents", "12"]) == 2
    assert "mine.txt" in capsys.readouterr().err and mine.is_file()
    mine.unlink()
