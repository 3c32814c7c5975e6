"""`danube prune-tokenizer` as a process that is killed or stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.data_prep.vocabulary.conftest import Pruned, Vocabulary
from tests.support.commands import environment, start_danube
from tests.support.kills import KillAt, assert_killed, kill
from tests.support.warm import Program


def start(vocabulary: Vocabulary, texts: Path, output: Path, *more: str, kill_at: KillAt | None = None) -> Program:
    words = ["--vocab-size", "600", "--any", "--on", str(texts), *more]
    given = environment() | (kill_at.environment() if kill_at else {})
    return start_danube("prune-tokenizer", str(vocabulary.file), str(output), *words, env=given)


def finished_units(output: Path) -> list[Path]:
    found = output.with_name("out.work").glob("units/*/record.json")
    return [path for path in found if not path.parent.name.endswith(".partial")]


def wait_for_a_unit(process: Program, output: Path) -> None:
    while not finished_units(output):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def assert_goes_on(vocabulary: Vocabulary, texts: Path, output: Path, pruned: Pruned, *more: str) -> str:
    process = start(vocabulary, texts, output, *more)
    message: str = process.communicate(timeout=60)[1]
    assert process.returncode == 0, message
    for name in ("tokenizer.json", "tokenizer_config.json", "pruning.json"):
        assert (output / name).read_bytes() == (pruned.folder / name).read_bytes()
    assert list(output.parent.iterdir()) == [output], "nothing is left of the work"
    return message


@pytest.mark.slow
def test_after_kill_9_it_goes_on_with_other_workers_to_the_same_bytes(
    vocabulary: Vocabulary, text_folder: Path, tmp_path: Path, pruned: Pruned
) -> None:
    output = tmp_path / "out"
    process = start(vocabulary, text_folder, output, "--workers", "1")
    wait_for_a_unit(process, output)
    kill(process)
    assert not output.exists()
    message = assert_goes_on(vocabulary, text_folder, output, pruned, "--workers", "3")
    assert "finished by an earlier run: " in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "nth"),
    [
        (r"open out\.work/\.danube\.lock", 1),
        (r"os\.mkdir out\.work/tables.*", 1),
        (r"open out\.work/vocabularies/.*", 3),
        (r"os\.rename out", 1),
        (r"(os\.remove|shutil\.rmtree) out\.work/.*", 1),
    ],
)
def test_killed_at_any_moment_it_goes_on(
    vocabulary: Vocabulary, text_folder: Path, tmp_path: Path, pruned: Pruned, pattern: str, nth: int
) -> None:
    output = tmp_path / "out"
    at = KillAt(str(tmp_path), pattern, nth)
    assert_killed(start(vocabulary, text_folder, output, "--workers", "1", kill_at=at))
    if output.exists():
        assert (output / "tokenizer.json").read_bytes() == (pruned.folder / "tokenizer.json").read_bytes()
        return
    assert_goes_on(vocabulary, text_folder, output, pruned, "--workers", "1")


@pytest.mark.slow
def test_sigterm_ends_it_in_one_line(vocabulary: Vocabulary, text_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start(vocabulary, text_folder, output, "--workers", "1")
    wait_for_a_unit(process, output)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=20)[1]
    assert process.returncode == 75, message
    assert message.splitlines()[-1].startswith("danube: SIGTERM: stopped; the same command goes on")
    assert "Traceback" not in message and not output.exists()


@pytest.mark.slow
def test_two_at_once_do_not_meet(vocabulary: Vocabulary, text_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = start(vocabulary, text_folder, output, "--workers", "1")
    wait_for_a_unit(first, output)
    second = start(vocabulary, text_folder, output, "--workers", "1")
    message = second.communicate(timeout=20)[1]
    assert second.returncode == 2 and "out.work is in use by process" in message
    assert first.wait(timeout=60) == 0
