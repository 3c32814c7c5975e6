"""``data.steps.decontaminate.files=[DIR]`` with a folder that `danube evaluate --fetch` lays down."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal
from data_prep.steps.benchmark_texts import find_benchmarks, read_benchmark
from data_prep.steps.decontaminate import Decontaminate
from tests.support.evaluation import DOCUMENTS, write_data

NAMES = [
    "arc_easy",
    "arc_challenge",
    "boolq",
    "hellaswag",
    "openbookqa",
    "piqa",
    "winogrande",
    "triviaqa",
    "truthfulqa",
    "gsm8k",
    "mmlu",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "data"
    write_data(folder)
    return folder


def document(text: str) -> Document:
    return Document(text, 1)


def test_every_set_is_a_benchmark_by_its_tasks_name(data: Path, tmp_path: Path) -> None:
    """Beside other files; MMLU's subjects are one."""
    mine = tmp_path / "gsm8k.jsonl"
    mine.write_text('{"question": "one of my own"}\n')
    found = find_benchmarks([data, mine])
    assert [file.name for file in found] == [*NAMES, f"{tmp_path.name}/gsm8k"]
    items = {file.name: sum(1 for _ in read_benchmark(file)) for file in found}
    assert items == {**dict.fromkeys(NAMES, DOCUMENTS), "mmlu": 2 * 57, f"{tmp_path.name}/gsm8k": 1}
    with pytest.raises(UserError, match="are both called arc_easy"):
        find_benchmarks([data, shutil.copytree(data, tmp_path / "again")])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Rowan/hellaswag/data/validation", lambda row: f"{row['ctx']} {row['endings'][0]}"),
        ("openai/gsm8k/main/test", lambda row: row["question"].upper()),
        (
            "allenai/winogrande/winogrande_xl/validation",
            lambda row: row["sentence"].replace("_", row[f"option{row['answer']}"]),
        ),
    ],
)
def test_a_document_with_a_question_in_it_is_removed(
    data: Path, path: str, text: Callable[[dict[str, Any]], str]
) -> None:
    step = Decontaminate([data], ngram=8, min_words=6, max_items=10**6)
    rows = parquet.read_table(data / f"{path}-00000-of-00001.parquet").to_pylist()
    removed = step(document(f"Before it. {text(rows[3])} After it."))
    assert isinstance(removed, Removal) and removed.reason.startswith("overlap with ")


def test_other_text_is_kept(data: Path) -> None:
    step = Decontaminate([data])
    kept = document("Whoever trains a model on what it is asked later on learns nothing of what it knows by itself.")
    assert step(kept) is kept


def test_examples_are_no_benchmark(data: Path) -> None:
    """They are of the training split, which may be trained on."""
    rows = parquet.read_table(data / "openai/gsm8k/main/train-00000-of-00001.parquet").to_pylist()
    asked = parquet.read_table(data / "openai/gsm8k/main/test-00000-of-00001.parquet").to_pylist()
    assert not {row["answer"] for row in rows} & {row["answer"] for row in asked}
    texts = {text for file in find_benchmarks([data]) for record in read_benchmark(file) for text in record.texts}
    assert {row["answer"] for row in asked} < texts
    assert not {row["answer"] for row in rows} & texts


def test_a_set_that_has_changed_is_named(data: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(data, tmp_path / "changed")
    found = {file.name: file for file in find_benchmarks([changed])}
    shutil.copy(
        changed / "cais/mmlu/virology/dev-00000-of-00001.parquet",
        changed / "cais/mmlu/virology/test-00000-of-00001.parquet",
    )
    with pytest.raises(
        UserError, match=r"virology/test-00000-of-00001\.parquet: not what manifest\.json has the hash of"
    ):
        list(read_benchmark(found["mmlu"]))
    (changed / "openai/gsm8k/main/test-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"gsm8k/main/test-00000-of-00001\.parquet: missing; .*--fetch"):
        list(read_benchmark(found["gsm8k"]))
