"""More files than a process may usually have open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.output import merge
from data_prep.prepare import run
from tests.support.limits import more_open_files


@pytest.mark.slow
def test_many_sources_under_a_low_limit(
    make_config: Callable[..., Any],
    make_texts: Callable[..., list[str]],
    write_jsonl: Callable[[Path, list[str]], Path],
    tmp_path: Path,
) -> None:
    """Joining the parts writes two files for each source, stage and split."""
    texts = make_texts(160, words=60)
    sources = {f"s{number:02d}": write_jsonl(tmp_path / f"{number}.jsonl", texts[number::16]) for number in range(16)}
    given = ", ".join(f"{name}: {path}" for name, path in sources.items())
    config = make_config([], "data.input=null", f"data.sources={{{given}}}")
    with more_open_files(60):
        prepared = run(config)
    assert {source["name"] for source in prepared.sources} == set(sources)


@pytest.mark.slow
def test_where_the_system_allows_few_files_the_datasets_are_joined_in_turns(
    make_config: Callable[..., Any],
    make_texts: Callable[..., list[str]],
    write_jsonl: Callable[[Path, list[str]], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dataset_bytes: Callable[[Path], dict[str, bytes]],
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", make_texts(160))
    run(make_config(path, directory=tmp_path / "at_once"))
    monkeypatch.setattr(merge, "writers_at_once", lambda: 1)
    run(make_config(path, directory=tmp_path / "in_turns"))
    assert dataset_bytes(tmp_path / "in_turns") == dataset_bytes(tmp_path / "at_once")
