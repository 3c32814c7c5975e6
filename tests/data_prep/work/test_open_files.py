"""More files than a process may usually have open."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.prepare import run


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
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 40, before[1]))
    try:
        prepared = run(config)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert {source["name"] for source in prepared.sources} == set(sources)
