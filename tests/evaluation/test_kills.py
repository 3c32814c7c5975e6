"""`danube evaluate`, killed with ``kill -9`` at random and started again, gives every score to the bit."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from custom_modules.scoring.log import LOG
from tests.support.commands import run_danube, start_danube
from tests.support.evaluated import Evaluated, own_items, samples, write_items
from tests.support.kills import kill

KILLS, AT_A_TIME = 20, 4
ITEMS = 240
"""In passes of about 15."""
CHAINS = [
    pytest.param(number, marks=pytest.mark.campaign if number else pytest.mark.slow)
    for number in range(KILLS // AT_A_TIME)
]
"""Each kills the same evaluation 4 times: one in CI, all of them in a campaign."""


def lines(output: Path) -> int:
    return (output / LOG).read_bytes().count(b"\n") if (output / LOG).exists() else 0


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_items(tmp_path_factory.mktemp("kills") / "own.jsonl", own_items(ITEMS, seed=11))


@pytest.fixture(scope="module")
def alone(evaluated: Evaluated, suite: Path) -> Path:
    """An evaluation that nobody killed, in batches of another size."""
    output = suite.parent / "alone"
    done = run_danube("evaluate", str(evaluated.export), "--suite", str(suite), "--output", str(output))
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.parametrize("chain", CHAINS)
def test_killed_at_random(evaluated: Evaluated, suite: Path, alone: Path, tmp_path: Path, chain: int) -> None:
    words = ["evaluate", str(evaluated.export), "--suite", str(suite), "--output", str(tmp_path)]
    source = random.Random(chain)
    for _ in range(AT_A_TIME):
        process = start_danube(*words, "--batch-size", "1")
        wanted = lines(tmp_path) + source.randrange(ITEMS // 15 // AT_A_TIME)
        deadline = time.monotonic() + 60
        while lines(tmp_path) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        kill(process)
    assert not (tmp_path / "results.json").exists()
    done = run_danube(*words)
    assert done.returncode == 0, done.stderr
    assert samples(tmp_path) == samples(alone)
