"""`make gpu-day` on a CPU: killed, called again, out of time, stopped, and with a part that fails."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gpu_day import commands
from tests.gpu_day.__main__ import deadlines
from tests.gpu_day.day import Day, Failed
from tests.gpu_day.parts import PARTS, TOTAL, logits
from tests.support.gpu import ON_CPU, WARM
from tests.support.warm_path import warm_programs_as_on_a_gpu

ROOT = Path(__file__).resolve().parents[1]
ALL = (
    *("doctor", "logits", "data", "bf16", "fp8"),
    *(f"bench {name}, {stage} stage" for name in ("FP8", "bf16") for stage in ("first", "last")),
    *("resume", "export"),
)


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have the parts' programs started warm."""
    with warm_programs_as_on_a_gpu(tmp_path_factory.mktemp("warm") / "bin") as folder:
        os.environ[WARM] = str(folder)
        yield
        del os.environ[WARM]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.gpu_day", "--size=tiny", "--budget=3000", f"--folder={folder}", *options]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=1800)
    return process.returncode, output, errors


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {line["part"]: line for line in lines(folder) if line["kind"] == "result"}


def forget(folder: Path, *parts: str) -> None:
    left = [line for line in lines(folder) if line.get("part") not in parts]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in left))


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes that name the folder, or have a file of it open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            files = [file.readlink() for file in (process / "fd").iterdir()]
        except OSError:
            continue
        named = str(folder) in words or any(file.is_relative_to(folder) for file in files)
        if named and int(process.name) != os.getpid():
            found.append(words)
    return found


@pytest.fixture(scope="module")
def killed_and_called_again(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]], str]:
    """A day that is killed in the middle of a part and called again: its folder, what it had, and its page."""
    folder = tmp_path_factory.mktemp("day") / "gpu_day"
    process = start(folder)
    deadline = time.monotonic() + 900
    while "data" not in results(folder) or not list((folder / "work" / "runs").glob("bf16/metrics.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    finish(process)
    deadline = time.monotonic() + 30
    while processes_of(folder):
        assert time.monotonic() < deadline, processes_of(folder)
        time.sleep(0.1)
    before = results(folder)
    code, page, errors = finish(start(folder))
    assert code == 0, errors + page
    return folder, before, page


@pytest.mark.slow
def test_a_killed_day_keeps_what_it_has_and_goes_on(
    killed_and_called_again: tuple[Path, dict[str, dict[str, Any]], str],
) -> None:
    folder, before, page = killed_and_called_again
    after = results(folder)
    assert set(before) < set(after) == set(ALL)
    assert {name: after[name] for name in before} == before
    skipped = {name: result["found"] for name, result in after.items() if result["outcome"] == "skipped"}
    assert set(skipped) == {"bench FP8, first stage", "bench FP8, last stage"}
    assert {result["outcome"] for name, result in after.items() if name not in skipped} == {"passed"}
    assert page == (folder / "performance.md").read_text()
    machine, *_ = lines(folder)
    for fact in ("torch", "megatron_core", "transformer_engine", "python"):
        assert machine[fact] and str(machine[fact]) in page, fact
    assert machine["commit"] in page
    for name, result in after.items():
        assert f"| {name} | {result['outcome']} | {result['found']} | " in page
    assert after["resume"]["figures"]["run"] == after["export"]["figures"]["run"] == "fp8"
    assert len(after["logits"]["figures"]["lengths"]) == 3
    row = after["bench bf16, last stage"]["figures"]["row"]
    assert row["figures"]["tokens_per_second"] > 0 and row["stage"] == "stage2"


def copied(day: Path, folder: Path, *without: str) -> Path:
    """Return a copy of a finished day that has no results of some parts."""
    shutil.copytree(day, folder)
    forget(folder, *without)
    return folder


@pytest.mark.slow
def test_what_takes_too_long_is_ended_and_said(
    killed_and_called_again: tuple[Path, dict[str, dict[str, Any]], str], tmp_path: Path
) -> None:
    """The parts share what is left: the run that is resumed has a few seconds, and so has the export."""
    folder = copied(killed_and_called_again[0], tmp_path / "day", "resume", "export")
    code, page, errors = finish(start(folder, "--budget", "14"))
    assert code == 1, errors
    assert results(folder)["resume"]["outcome"] == "ended"
    assert "the same command tries it again" in page and not processes_of(folder)


@pytest.mark.slow
def test_a_part_that_fails_does_not_end_the_rest(
    killed_and_called_again: tuple[Path, dict[str, dict[str, Any]], str], tmp_path: Path
) -> None:
    """It is tried again by the next call, behind the parts that have no result."""
    folder = copied(killed_and_called_again[0], tmp_path / "day", "bf16", "doctor", "export")
    run = folder / "work" / "runs" / "bf16"
    shutil.move(run, folder / "aside")
    run.write_text("no folder")
    code, page, errors = finish(start(folder))
    assert code == 1, errors
    failed = results(folder)["bf16"]
    assert (failed["outcome"], results(folder)["export"]["outcome"]) == ("failed", "passed"), page
    assert "exit code 2: danube: " in failed["found"] and failed["found"] in page
    run.unlink()
    shutil.move(folder / "aside", run)
    code, _, errors = finish(start(folder))
    assert (code, results(folder)["bf16"]["outcome"]) == (0, "passed"), errors


@pytest.mark.slow
def test_a_stop_ends_what_runs_and_other_facts_have_another_folder(
    killed_and_called_again: tuple[Path, dict[str, dict[str, Any]], str], tmp_path: Path
) -> None:
    folder = copied(killed_and_called_again[0], tmp_path / "day")
    machine, *others = lines(folder)
    old = "".join(json.dumps(line) + "\n" for line in ({**machine, "torch": "1.0"}, *others))
    (folder / "results.jsonl").write_text(old)
    process = start(folder)
    second = folder.with_name("day-2")
    deadline = time.monotonic() + 120
    while not list(second.glob("log/*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, _, errors = finish(process)
    assert code == 128 + signal.SIGTERM, errors
    assert f"these go to {second}" in errors
    assert (folder / "results.jsonl").read_text() == old and not processes_of(second)


@pytest.mark.parametrize("deaf", [False, True])
def test_a_program_is_ended_with_what_it_started(deaf: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that does not listen, when its time is over."""
    monkeypatch.setattr(commands, "GRACE", 0.5)
    ran = commands.Commands(tmp_path, os.environ)
    ran.until = time.monotonic() + 0.5
    script = f"{'trap : TERM; ' if deaf else ''}sleep 987 & while :; do echo {tmp_path} >&2; wait; done"
    with pytest.raises(commands.OutOfTime):
        ran.run(["sh", "-c", script, str(tmp_path)], tmp_path / "part.log")
    assert str(tmp_path) in (tmp_path / "part.log").read_text()
    assert not processes_of(tmp_path)


def test_parts_share_nine_minutes_and_what_is_left_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TOTAL == 540
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    ends = deadlines(list(PARTS), 1540.0)
    assert ends == sorted(ends) and ends[-1] == pytest.approx(1540.0 - commands.GRACE)
    assert deadlines(list(PARTS[-2:]), 1540.0)[-1] == pytest.approx(ends[-1])
    assert deadlines(list(PARTS), 900.0) == [1000.0] * len(PARTS)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(0.0, 0.0, True)], None),
        ([(0.0, 0.0, True), (0.0, 0.0, False)], "row 1"),
        ([(0.1, math.nan, False)], "row 0"),
        ([], "nothing"),
    ],
)
def test_errors_of_nothing_are_compared_too(
    rows: list[tuple[float, float, bool]], said: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Logits that are all the same, as of a chip that computes nothing."""
    names = ("local", "engine", "are_small", "said")
    output = "".join(json.dumps(dict(zip(names, (*row, f"row {n}"), strict=True))) + "\n" for n, row in enumerate(rows))
    monkeypatch.setattr(Day, "need_engine", lambda _: None)
    monkeypatch.setattr(Day, "program", lambda *_: commands.Done(0, output, ""))
    facts: Any = None
    day = Day("tiny", ON_CPU, facts, tmp_path, commands.Commands(tmp_path, {}))
    if said is None:
        assert "0.00 times" in logits(day).text
    else:
        with pytest.raises(Failed, match=said):
            logits(day)


@pytest.mark.slow
def test_full_size_needs_a_gpu(tmp_path: Path) -> None:
    code, page, errors = finish(start(tmp_path / "day", "--size", "full"))
    assert (code, page) == (2, "")
    assert errors == "gpu_day: gpu-day: torch sees no GPU here; --size tiny rehearses it on a CPU\n"
