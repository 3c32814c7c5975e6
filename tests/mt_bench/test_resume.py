"""Killed at any moment and started again: no answer is lost, and none is asked for twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from custom_modules.cli import main
from tests.support.commands import start_danube
from tests.support.judge import Judge, Request, running_judge
from tests.support.kills import kill
from tests.support.mt_bench import answers, judgments

TASKS = 14
Say = pytest.CaptureFixture[str]
Words = Callable[..., list[str]]


@pytest.fixture
def judge() -> Iterator[Judge]:
    with running_judge() as judge:
        yield judge


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 100
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("parallel", [1, 3])
def test_killed_while_judging(judge: Judge, judged: Words, tmp_path: Path, parallel: int) -> None:
    """Three times, always with requests under way that are never answered; what was answered is on the disk."""
    command = judged(*judge.options, "--parallel", str(parallel))
    begun = 0
    for answered in (2, 3, 4):
        judge.gate = threading.Semaphore(answered)
        with start_danube(*command) as process:
            begun += answered + parallel
            wait_for(lambda: len(judge.requests) == begun, process)  # noqa: B023
            kill(process)
    assert len(judgments(tmp_path / "output")) == 2 + 3 + 4 == sum(judge.answered.values())
    judge.gate = None
    assert main(command) == 0
    assert set(judge.answered.values()) == {1}
    assert len(judge.answered) == len(judgments(tmp_path / "output")) == TASKS


def test_a_judgment_is_on_the_disk_before_the_next_is_asked_for(judge: Judge, judged: Words, tmp_path: Path) -> None:
    lines: list[int] = []

    def rate(request: Request) -> str:
        path = tmp_path / "output" / "model_judgment" / "judge_single.jsonl"
        lines.append(len(judgments(tmp_path / "output")) if path.exists() else 0)
        return "[[5]]"

    judge.rate = rate
    assert main(judged(*judge.options)) == 0
    assert lines == [*range(TASKS)]


def test_killed_while_answering(
    judge: Judge, model: Path, bench: Path, all_answers: Path, tmp_path: Path, capsys: Say
) -> None:
    """Twice; each start keeps the lines of the one before, and the answers are those of an undisturbed run."""
    output = tmp_path / "output"
    path = output / "model_answer" / "model.jsonl"
    judge.gate = threading.Semaphore(0)  # so that it has not ended before it is killed
    options = ["--bench", str(bench), "--output", str(output), "--max-new-tokens", "6", "--categories", "all"]
    command = ["mt-bench", str(model), *options, *judge.options]
    before = b""
    for count in (2, 5):
        with start_danube(*command) as process:
            wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= count, process)  # noqa: B023
            kill(process)
        assert path.read_bytes().startswith(before)
        before = path.read_bytes()
    assert main([*command[:-6], "--answers-only"]) == 0
    assert path.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert answers(output) == answers(all_answers)


@pytest.mark.parametrize("cut", [1, 2, 40, 0.5, -1])
def test_a_half_written_line_is_mended(
    cut: float, judge: Judge, judged: Words, tmp_path: Path, all_answers: Path, capsys: Say
) -> None:
    """Of the last answer and the last judgment so many bytes lack: only the line's end, or nearly all of it."""
    options = [*judge.options, "--categories", "all"]
    assert main(judged(*options)) == 0
    files = [*(tmp_path / "output").glob("model_*/*.jsonl")]
    whole = [judgments(tmp_path / "output"), answers(tmp_path / "output")]
    assert len(files) == 2
    for path in files:
        content = path.read_bytes()
        last = len(content.splitlines(keepends=True)[-1])
        missing = int(cut * last) if 0 < cut < 1 else int(cut) if cut > 0 else last - 1
        path.write_bytes(content[:-missing])
    capsys.readouterr()
    assert main(judged(*options)) == 0
    complete = cut == 1  # all but the line's end was there, so that nothing is asked anew
    assert capsys.readouterr().err.count("answered question") == (0 if complete else 1)
    assert len(judge.requests) == 16 + (0 if complete else 1)
    again = [judgments(tmp_path / "output"), answers(tmp_path / "output")]
    for before, after in zip(whole, again, strict=True):
        assert [{**record, "tstamp": 0} for record in after] == [{**record, "tstamp": 0} for record in before]


def test_the_next_line_begins_behind_one_that_lacked_its_end(judge: Judge, judged: Words, tmp_path: Path) -> None:
    path = tmp_path / "output" / "model_answer" / "model.jsonl"
    kept = path.read_bytes().splitlines()[:3]
    path.write_bytes(b"\n".join(kept))
    assert main(judged(*judge.options)) == 0
    lines = path.read_bytes().split(b"\n")
    assert lines[:3] == kept and len(lines) == 7 + 1 and lines[-1] == b""


def test_a_damaged_line_is_named(judge: Judge, judged: Words, tmp_path: Path, capsys: Say) -> None:
    path = tmp_path / "output" / "model_answer" / "model.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged, message in (
        ([lines[0][:30] + b"\n", *lines[1:]], "model.jsonl:1: not JSON"),
        ([*lines, lines[0]], "question 81 is answered twice"),
        ([b'{"question_id": 81}\n', *lines[1:]], "question_id=81 is not FastChat's"),
        ([b"[]\n", *lines[1:]], "model.jsonl:1: not a JSON object"),
    ):
        path.write_bytes(b"".join(damaged))
        assert main(judged(*judge.options)) == 2
        assert message in capsys.readouterr().err
    assert not judge.requests


def test_judgments_of_other_answers_or_prompts_are_refused(
    judge: Judge, judged: Words, tmp_path: Path, bench: Path, capsys: Say
) -> None:
    """Answers that were made anew, a reference that has changed, prompts that have."""
    assert main(judged(*judge.options)) == 0
    asked = len(judge.requests)
    path = tmp_path / "output" / "model_answer" / "model.jsonl"
    content = path.read_text()
    path.write_text(content.replace('"turns": ["', '"turns": ["other ', 1))
    assert main(judged(*judge.options)) == 2
    assert "question 81, turn 1 was judged with another answer, question or reference" in capsys.readouterr().err
    path.write_text(content)
    own = shutil.copytree(bench.parent, tmp_path / "data") / bench.name
    for name, message in (
        ("reference_answer/gpt-4.jsonl", "question 83, turn 1 was judged with another answer, question or reference"),
        ("../judge_prompts.jsonl", "made with judge_prompts="),
    ):
        (own / name).write_text((own / name).read_text().replace("reference 83", "other").replace("You judge", "Judge"))
        command = judged(*judge.options)
        command[command.index(str(bench))] = str(own)
        assert main(command) == 2
        assert message in capsys.readouterr().err
        shutil.copytree(bench.parent, tmp_path / "data", dirs_exist_ok=True)
    assert len(judge.requests) == asked


def test_two_judges_have_a_file_each_and_two_starts_do_not_meet(
    judge: Judge, judged: Words, tmp_path: Path, capsys: Say
) -> None:
    assert main(judged(*judge.options)) == 0
    named = [*judge.options[:3], "a/judge:2", *judge.options[4:]]
    assert main(judged(*named)) == 0
    assert len(judge.requests) == 2 * TASKS
    assert {record["judge"][0] for record in judgments(tmp_path / "output", "a_judge_2")} == {"a/judge:2"}
    judge.gate = threading.Semaphore(0)
    with start_danube(*judged(*judge.options[:3], "third", *judge.options[4:])) as process:
        wait_for(lambda: len(judge.requests) == 2 * TASKS + 1, process)
        capsys.readouterr()
        assert main(judged(*judge.options)) == 2
        assert "is in use by process" in capsys.readouterr().err
        kill(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_stop_keeps_all_and_ends_with_75(number: signal.Signals, judge: Judge, judged: Words, tmp_path: Path) -> None:
    """At once, though a request is under way that is never answered."""
    judge.gate = threading.Semaphore(3)
    with start_danube(*judged(*judge.options)) as process:
        wait_for(lambda: len(judge.requests) == 4, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert said.splitlines()[-1].startswith(f"danube: stopped by {number.name}: every answer and judgment so far is in")
    judge.gate = None
    assert main(judged(*judge.options)) == 0
    assert set(judge.answered.values()) == {1} and len(judge.answered) == TASKS


def test_judge_only_wants_all_answers(judge: Judge, judged: Words, tmp_path: Path, capsys: Say) -> None:
    path = tmp_path / "output" / "model_answer" / "model.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[2:]))
    assert main(judged(*judge.options, "--judge-only")) == 2
    assert "no answer to question 81, 82; leave --judge-only out" in capsys.readouterr().err
    assert main(judged(*judge.options)) == 0


@pytest.mark.slow
def test_rehearsed_with_our_own_judge_and_bench(model: Path, tmp_path: Path) -> None:
    """The commands of `make rehearse-chat`, as programs: the judge serves one command, and ends with its code."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    bench, output = tmp_path / "bench", tmp_path / "output"
    python = [sys.executable, "-m"]
    subprocess.run([*python, "data_prep.rehearsal.mt_bench", str(bench)], check=True, env=environment)
    words = ["--bench", str(bench), "--output", str(output), "--max-new-tokens", "6", "--categories", "all"]
    command = [*python, "data_prep.rehearsal.judge", *python, "custom_modules.cli", "mt-bench", str(model), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Both turns" in done.stdout
    assert len(judgments(output, "rehearsal")) == 18
    assert all(1 <= record["score"] <= 10 for record in judgments(output, "rehearsal"))
    failed = subprocess.run([*command, "--seed", "x"], env=environment, capture_output=True, text=True)
    assert failed.returncode == 2
