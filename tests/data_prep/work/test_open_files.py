"""More files than a process may usually have open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
