"""`danube prepare` as a process that is killed, stopped, or runs out of room."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

import data_prep
from custom_modules.data.check import check_data
from data_prep.quality.train import train_quality
from tests.support import no_flock
from tests.support.commands import danube_command, start_danube
from tests.support.kills import KillAt, assert_killed, at_one_of, kill
from tests.support.small_disk import needs_small_disk, with_mounts
from tests.support.warm import Program

ROOT = Path(data_prep.__file__).parents[1]

Overrides = Callable[..., list[str]]
ReadBytes = Callable[[Path], dict[str, bytes]]
Write = Callable[[Path, list[str]], Path]


@pytest.fixture(scope="session")
def big_input(
    tmp_path_factory: pytest.TempPathFactory,
    make_texts: Callable[..., list[str]],
    write_jsonl: Callable[[Path, list[str]], Path],
) -> Path:
    """A megabyte and a half: six units."""
    return write_jsonl(tmp_path_factory.mktemp("input") / "a.jsonl", make_texts(300, words=1000))


def start(
    overrides: list[str],
    file_size_limit: int | None = None,
    kill_at: KillAt | None = None,
    lock: Mapping[str, str] | None = None,
) -> Program:
    limits = {resource.RLIMIT_FSIZE: (file_size_limit, file_size_limit)} if file_size_limit else {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= kill_at.environment() if kill_at else {}
    environment |= lock or {}
    arguments = ["prepare", "--config-name", "danube_rehearsal", *overrides]
    return start_danube(*arguments, cwd=ROOT, env=environment, limits=limits)


def finished_parts(directory: Path) -> list[Path]:
    return [path for path in directory.glob("prepare.work/units/*") if not path.name.endswith(".partial")]


def wait_for_parts(process: Program, directory: Path, count: int) -> None:
    while len(finished_parts(directory)) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def finish(overrides: list[str], watched: KillAt | None = None) -> str:
    process = start(overrides, kill_at=watched)
    message = process.communicate()[1]
    assert process.returncode == 0, message
    return message


@pytest.mark.slow
def test_after_kill_9_only_unfinished_units_are_done_and_the_bytes_are_the_same(
    tmp_path: Path, overrides: Overrides, big_input: Path, dataset_bytes: ReadBytes
) -> None:
    data = tmp_path / "data"
    process = start(overrides(big_input))
    wait_for_parts(process, data, 1)
    kill(process)
    left = {path: path.stat().st_mtime_ns for path in finished_parts(data)}
    assert not (data / "manifest.json").exists()

    message = finish(overrides(big_input))
    [found] = re.findall(r"finished by an earlier run: (\d+) of (\d+) units", message)
    done, units = map(int, found)
    assert len(left) <= done < units
    finish(overrides(big_input, directory=tmp_path / "unbroken"))
    assert dataset_bytes(data) == dataset_bytes(tmp_path / "unbroken")
    assert not (data / "prepare.work").exists()


def test_sigterm_ends_it_in_one_line_with_nothing_half_published(
    tmp_path: Path, overrides: Overrides, big_input: Path
) -> None:
    data = tmp_path / "data"
    process = start(overrides(big_input, "data.workers=2"))
    wait_for_parts(process, data, 1)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=10)[1]
    assert process.returncode == 75
    assert message.splitlines()[-1].startswith("danube: SIGTERM: stopped; the same command goes on")
    assert "Traceback" not in message
    assert not (data / "manifest.json").exists() and not list(data.glob("stage*"))
    parts = finished_parts(data)
    time.sleep(0.3)
    assert finished_parts(data) == parts, "a worker is still at it"


def test_a_worker_that_is_killed_is_not_waited_for(tmp_path: Path, overrides: Overrides, big_input: Path) -> None:
    process = start(overrides(big_input))
    wait_for_parts(process, tmp_path / "data", 1)
    workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 1
    workers[0].kill()
    message = process.communicate(timeout=10)[1]
    assert process.returncode == 2
    assert message.splitlines()[-1].startswith("danube: a worker process was killed, as happens when memory runs out")
    assert "Traceback" not in message


@pytest.mark.slow
def test_a_full_disk_names_the_file_and_spares_what_was_there(
    tmp_path: Path, overrides: Overrides, big_input: Path, dataset_bytes: ReadBytes
) -> None:
    data = tmp_path / "data"
    small = tmp_path / "small.jsonl"
    with big_input.open("rb") as file:
        small.write_bytes(b"".join(file.readlines(200_000)))
    finish(overrides(small))
    before = dataset_bytes(data), (data / "manifest.json").read_bytes()

    # A limit on the size of a file fails as a full disk does, in the middle of a write.
    process = start(overrides(big_input), file_size_limit=100_000)
    message = process.communicate()[1]
    assert process.returncode == 2
    assert re.match(rf"danube: {data}/prepare.work/units/\S+/tokens\.bin: File too large; ", message.splitlines()[-1])
    assert "Traceback" not in message
    assert (dataset_bytes(data), (data / "manifest.json").read_bytes()) == before


@needs_small_disk
@pytest.mark.slow
def test_shared_memory_that_cannot_be_written_is_named(
    tmp_path: Path, overrides: Callable[..., list[str]], make_texts: Callable[..., list[str]], write_jsonl: Write
) -> None:
    """Not ``data.dir``, which has nothing to do with it."""
    words = overrides(write_jsonl(tmp_path / "a.jsonl", make_texts(60)))
    done = with_mounts(
        'mount -t tmpfs -o ro none /dev/shm; "$@"; echo "exit code $?"',
        *danube_command("prepare", "--config-name", "danube_rehearsal", *words),
    )
    assert done.stdout == "exit code 2\n"
    assert done.stderr == (
        "danube: /dev/shm: Read-only file system; put that right, and the same command goes on from the last finished "
        "piece\n"
    )


@needs_small_disk
@pytest.mark.parametrize(
    ("kilobytes", "steps"),
    [(150, []), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(900, []), (150, ["data.steps.exact={}"])])],
)
@pytest.mark.slow
def test_a_full_disk_says_what_room_it_takes(
    kilobytes: int, steps: list[str], tmp_path: Path, overrides: Overrides, big_input: Path
) -> None:
    """Before the first unit is done, or later: with as much more as it asked for, the same command is done."""
    small = tmp_path / "small"
    small.mkdir()
    arguments = [
        "prepare",
        "--config-name",
        "danube_rehearsal",
        *overrides(big_input, *steps, directory=small / "data"),
    ]
    script = f"""
        mount -t tmpfs -o size={kilobytes}k none {small}
        "$@" 2>{tmp_path}/first; echo "exit code $?"
        set -- "$(sed -nE 's/.* about ([0-9.]+) (kB|MB) more are needed: .*/\\1 \\2/p' {tmp_path}/first)" "$@"
        read -r amount unit <<< "$1"; shift
        echo "$amount $unit"
        kilobytes=$(python3 -c "print(int($amount * {{'kB': 1, 'MB': 1000}}['$unit']))")
        used=$(du -sk {small} | cut -f1)
        mount -o remount,size=$((used + kilobytes * 5 / 4))k {small}
        "$@" >&2; echo "exit code $?"
    """
    done = with_mounts(script, *danube_command(*arguments))
    first = (tmp_path / "first").read_text().splitlines()[-1]
    assert re.match(rf"danube: {small}/data/\S+: No space left on device; about [\d.]+ [kM]B more are needed: ", first)
    lines = done.stdout.splitlines()
    assert lines[0] == "exit code 2"
    assert lines[-1] == "exit code 0", done.stderr


@pytest.fixture
def quality_model(tmp_path: Path, make_texts: Callable[..., list[str]], write_jsonl: Write) -> Path:
    """A GBM that prefers long texts."""
    good, raw = (write_jsonl(tmp_path / f"{words}.jsonl", make_texts(300, words, seed=words)) for words in (1000, 200))
    train_quality("gbm", tmp_path / "model", [good], [raw], options={"num_iterations": 20})
    return tmp_path / "model"


def count_records(folder: Path) -> int:
    """0 where a folder is renamed while it is looked into."""
    try:
        return len(list(folder.rglob("record.json")))
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize(
    "count", [pytest.param(4, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.campaign)]
)
def test_kill_9_many_times_at_any_moment_of_every_step(
    count: int, tmp_path: Path, overrides: Overrides, big_input: Path, quality_model: Path, dataset_bytes: ReadBytes
) -> None:
    """Scoring, the cut at a quantile, both deduplications, tokenizing, joining and publishing.

    Two kills come while the workers are at it; the others, spread over all that the run does with files from its first
    to its last, before an operation of a kind that the killed runs had not come to. By turns
    the folder is held with flock and where there is none.
    """
    locks = no_flock.by_turns()
    twice = tmp_path / "b.jsonl"
    twice.write_bytes(b"".join(big_input.read_bytes().splitlines(keepends=True)[:50]))
    quality = f"data.steps.gbm_quality={{model: {quality_model}, keep_quantile: 0.7}}"
    steps = [quality, "data.steps.exact={}", "data.steps.minhash={}"]
    alone, killed = tmp_path / "left_alone", tmp_path / "killed"
    kinds_file = tmp_path / "kinds"
    finish(overrides([big_input, twice], *steps, directory=alone), KillAt(str(alone), kinds=str(kinds_file)))
    kinds = kinds_file.read_text().splitlines()
    again = overrides([big_input, twice], *steps, directory=killed)

    kills = 0
    for finished in (1, 4):
        process = start(again, lock=next(locks))
        while count_records(killed) < finished:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        kill(process)
        kills += 1
    moments = [round(number * (len(kinds) - 1) / (count - 2)) for number in range(1, count - 1)]
    assert len(set(moments)) == count - 2, kinds
    for moment in moments:
        assert_killed(start(again, kill_at=at_one_of(killed, kinds[moment:]), lock=next(locks)))
        kills += 1
    assert kills == count

    finish(again)
    assert dataset_bytes(killed) == dataset_bytes(alone)
    assert len(list(killed.rglob("*.scores.parquet"))) == 4
    for one, other in zip(*(sorted((folder / "removed").iterdir()) for folder in (killed, alone)), strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.fixture
def many_units(tmp_path: Path, make_texts: Callable[..., list[str]], write_jsonl: Write) -> list[str]:
    """Some 40 units of a kilobyte: how far a merge came is noted after 16 of them, and after 32."""
    return [str(write_jsonl(tmp_path / "many.jsonl", make_texts(90))), "data.shard_bytes=1_000"]


def joined_before(message: str) -> tuple[int, int]:
    [(done, shards)] = re.findall(r"joined by an earlier run: (\d+) of (\d+) shards", message)
    return int(done), int(shards)


NOTE = r"os\.rename .*merge\.json"


@pytest.mark.slow
def test_a_merge_goes_on_where_it_was_killed(
    tmp_path: Path, overrides: Overrides, many_units: list[str], dataset_bytes: ReadBytes
) -> None:
    """Killed when it has noted 16 units, then when it has noted 32 and the first of four datasets is finished."""
    data, (text, *small) = tmp_path / "data", many_units
    arguments = overrides(Path(text), *small)
    assert_killed(start(arguments, kill_at=KillAt(str(data), NOTE, nth=3)))
    written = {path: path.stat().st_size for path in data.rglob("*.bin") if path.parent.name.startswith("stage")}
    assert len(written) == 4 and all(written.values())
    done, shards = joined_before(assert_killed(start(arguments, kill_at=KillAt(str(data), NOTE, nth=4))))
    assert done == 16 and 32 < shards < 48
    [finished] = [path for path in data.rglob("stage*/*.bin") if not path.with_suffix(".lengths").exists()]
    unchanged = finished.stat().st_ino, finished.stat().st_mtime_ns
    assert joined_before(finish(arguments)) == (32, shards)
    published = data / finished.parent.name / finished.name
    assert (published.stat().st_ino, published.stat().st_mtime_ns) == unchanged, "it was written again"
    finish(overrides(Path(text), *small, directory=tmp_path / "unbroken"))
    assert dataset_bytes(data) == dataset_bytes(tmp_path / "unbroken")
    assert list(check_data(data)) == []
