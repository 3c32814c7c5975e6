"""`danube evaluate` on a disk that is full soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import danube_command
from tests.support.evaluated import Evaluated, own_items, write_items
from tests.support.small_disk import needs_small_disk, with_mounts

FILLED = 'mount -t tmpfs -o size=24k none "$1"; out=$1; shift; "$@"; code=$?; ls "$out" >&2; exit $code'


@pytest.mark.slow
@needs_small_disk
def test_a_full_disk(evaluated: Evaluated, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    suite = write_items(tmp_path / "own.jsonl", own_items(200))
    words = ["evaluate", str(evaluated.export), "--suite", str(suite), "--output", str(output), "--accelerator", "cpu"]
    done = with_mounts(FILLED, str(output), *danube_command(*words))
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("danube: ")]
    advice = "make room, and the same command goes on from the last finished piece"
    assert said == [f"danube: {output / 'answers.jsonl'}: No space left on device; {advice}"]
    assert "results.json" not in done.stderr and "samples.jsonl" not in done.stderr
