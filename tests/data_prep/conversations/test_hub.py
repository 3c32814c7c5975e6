"""``hf://datasets/...`` against a hub on this machine: what comes, and what is said where it does not."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.data.chat_manifest import read_chat_manifest
from tests.support.commands import danube_command, environment
from tests.support.hub import COMMIT, Hub, serve

ROWS = [
    {"messages": [{"role": "user", "content": f"why {n}?"}, {"role": "assistant", "content": f"so {n}"}]}
    for n in range(3000)
]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
FILES = {"README.md": b"# about", "train.jsonl": LINES, "test.jsonl": b"{}", "more/mine.jsonl": LINES[:4_000]}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def prepare(tmp_path: Path, overrides: Callable[..., list[str]]) -> Run:
    """The command on an address, with a hub and an empty cache."""

    def run(hub: Hub, address: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = overrides("sft", f"data.sources.mine.path={address}")
        of_hub = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        plain = {name: value for name, value in environment().items() if not name.startswith("HF_")}
        # Not warm: the hub's library reads these when it is imported.
        command = danube_command("prepare", "--config-name", "danube_sft_rehearsal", *words)
        given = {**plain, **of_hub, **more}
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=120)

    return run


def test_a_set_is_fetched_once(tmp_path: Path, prepare: Run) -> None:
    """Of the split to train on; a transfer that breaks off goes on where it was, and nothing is asked for twice.

    The hub's library keeps what came in pieces of 10 MiB.
    """
    large = b"".join(json.dumps({**row, "note": "x" * 4_000}).encode() + b"\n" for row in ROWS)
    with serve(Hub({"org/set": {**FILES, "train.jsonl": large}}, cut_after=[11_000_000])) as hub:
        done = prepare(hub, "hf://datasets/org/set")
        assert done.returncode == 0, done.stderr
        ranges = [asked for method, path, asked in hub.asked if method == "GET" and path.endswith("train.jsonl")]
        assert ranges[0] is None and len(ranges) == 2 and ranges[1] and ranges[1].startswith("bytes=")
        assert not any("test.jsonl" in path or "README" in path for _, path, _ in hub.asked)
        manifest = read_chat_manifest(tmp_path / "data")
        assert manifest is not None and manifest.sources[0]["read"] == len(ROWS)
        assert manifest.options["sources"][0]["revision"] == COMMIT
        before = len(hub.asked)
        again = prepare(hub, "hf://datasets/org/set")
        assert "is up to date with 1 source file" in again.stderr
        assert {path.partition("?")[0] for _, path, _ in hub.asked[before:]} == {"/api/datasets/org/set"}


def test_too_many_requests_are_waited_for(tmp_path: Path, prepare: Run) -> None:
    with serve(Hub({"org/set": FILES}, statuses=[429, 503])) as hub:
        done = prepare(hub, f"hf://datasets/org/set@{COMMIT}/more/mine.jsonl")
    assert done.returncode == 0, done.stderr
    manifest = read_chat_manifest(tmp_path / "data")
    assert manifest is not None and manifest.sources[0]["path"].endswith("more/mine.jsonl")


REFUSED = [
    ("hf://datasets/org/other", "has no such data set, or shows it only with an HF_TOKEN"),
    ("hf://datasets/org/set/no.jsonl", "no such file in the data set; it has README.md, more/mine.jsonl"),
    ("hf://datasets/org/set@old", "the data set has no such revision"),
    ("hf://datasets/org", "no data set's address; write hf://datasets/ORG/NAME"),
    ("hf://datasets/org/set/README.md", "unknown format"),
]


@pytest.mark.parametrize(("address", "message"), REFUSED)
def test_what_is_not_there_is_named(address: str, message: str, prepare: Run) -> None:
    with serve(Hub({"org/set": FILES})) as hub:
        done = prepare(hub, address)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert message in last and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_hub_that_stays_away_is_somebody_elses_fault(prepare: Run, tmp_path: Path) -> None:
    """After tries for some seconds; the same command may go on later."""
    with serve(Hub({"org/set": FILES}, always=429)) as hub:
        done = prepare(hub, "hf://datasets/org/set")
    assert done.returncode == 74
    assert "the hub answers 429 (too many requests); try again later" in done.stderr.splitlines()[-1]
    done = prepare(hub, "hf://datasets/org/set")
    assert done.returncode == 74
    assert "the hub cannot be reached" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_transfer_that_breaks_off_again_and_again_is_never_read(prepare: Run, tmp_path: Path) -> None:
    source = random.Random(0)
    with serve(Hub({"org/set": FILES}, cut_after=[source.randrange(1, 2_000) for _ in range(200)])) as hub:
        done = prepare(hub, "hf://datasets/org/set")
        assert done.returncode in (0, 74), done.stderr
        hub.cut_after.clear()
        assert prepare(hub, "hf://datasets/org/set").returncode == 0
    manifest = read_chat_manifest(tmp_path / "data")
    assert manifest is not None and manifest.sources[0]["read"] == len(ROWS)
    assert Path(manifest.sources[0]["path"]).stat().st_size == len(LINES)
