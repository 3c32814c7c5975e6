"""A judge that refuses, is slow, or answers nonsense: nothing is lost, nothing it has answered is asked again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from custom_modules.cli import main
from custom_modules.mt_bench import judge_client
from tests.support.commands import run_danube
from tests.support.judge import (
    Behave,
    Handler,
    Judge,
    Request,
    completion,
    dripping,
    half,
    half_of_unknown_length,
    hang_up,
    nonsense,
    retry_date,
    running_judge,
    slow,
    status,
)
from tests.support.mt_bench import judgments, read_lines, result

TASKS = 14
"""Seven categories, two turns."""
KEY = "sk-a-secret-of-ours"
Say = pytest.CaptureFixture[str]
Words = Callable[..., list[str]]

FAULTS: dict[str, Behave] = {
    "500": status(500),
    "503 with words": status(503, b'{"error": {"message": "loading\\nthe model"}}'),
    "429": status(429, b"too many"),
    "408": status(408),
    "half": half,
    "half of unknown length": half_of_unknown_length,
    "hangs up": hang_up,
    "no JSON": nonsense(b"<html>"),
    "empty": nonsense(b""),
    "other JSON": nonsense(b"[]"),
    "an error with 200": nonsense(b'{"error": {"message": "upstream"}}'),
    "no choice": nonsense(b'{"choices": []}'),
    "no text": nonsense(b'{"choices": [{"message": {"content": [1]}}]}'),
}


@pytest.fixture
def judge() -> Iterator[Judge]:
    with running_judge() as judge:
        yield judge


def assert_each_asked_once(judge: Judge, output: Path, tasks: int = TASKS) -> None:
    """No judgment lost, and none that was given asked for twice."""
    assert set(judge.answered.values()) == {1} and len(judge.answered) == tasks
    records = judgments(output)
    assert len({(record["question_id"], record["turn"]) for record in records}) == len(records) == tasks
    assert {record["user_prompt"] for record in records} == set(judge.answered)


@pytest.mark.parametrize("parallel", ["1", "5"])
def test_every_fault_is_asked_again(
    judge: Judge, judged: Words, tmp_path: Path, parallel: str, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_client, "_LONGEST_WAIT", 0.3)
    judge.faults = list(FAULTS.values())
    assert main(judged(*judge.options, "--parallel", parallel)) == 0
    assert len(judge.requests) == TASKS + len(FAULTS)
    assert_each_asked_once(judge, tmp_path / "output")
    said = capsys.readouterr().err
    assert "HTTP 503 (loading the model)" in said and "no message: upstream" in said


def test_the_form_of_requests_and_judgments(judge: Judge, judged: Words, tmp_path: Path, bench: Path) -> None:
    """FastChat's: prompts by category and turn, temperature 0, 2,048 tokens; the first turns come first."""
    assert main(judged(*judge.options, "--categories", "all")) == 0
    categories = {one["question_id"]: one["category"] for one in read_lines(bench / "question.jsonl")}
    answers = {
        one["question_id"]: one["choices"][0]["turns"]
        for one in read_lines(next((tmp_path / "output" / "model_answer").glob("*.jsonl")))
    }
    records = judgments(tmp_path / "output")
    assert [record["turn"] for record in records] == [1] * 8 + [2] * 8
    for request, record in zip(judge.requests, records, strict=True):
        number, is_math = record["question_id"], categories[record["question_id"]] in ("math", "reasoning", "coding")
        name = f"single{'-math' if is_math else ''}-v1{'-multi-turn' if record['turn'] == 2 else ''}"
        assert record["judge"] == ["judge", name]
        assert request.path == "/v1/chat/completions" and "Authorization" not in request.headers
        system, user = request.body["messages"]
        assert system == {"role": "system", "content": f"You judge by {name}."}
        assert user == {"role": "user", "content": record["user_prompt"]}
        assert {**request.body, "messages": None} == {
            "model": "judge",
            "messages": None,
            "temperature": 0,
            "max_tokens": 2048,
        }
        assert all(answer in record["user_prompt"] for answer in answers[number][: record["turn"]])
        assert (f"reference {number}.1" in record["user_prompt"]) == is_math
        assert set(record) == {"question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp"}
        assert record["score"] == 7 and record["model"] == "model"


@pytest.mark.parametrize("fault", [status(429, Retry_After="1"), retry_date(2.0)])
def test_retry_after_is_waited_for(judge: Judge, judged: Words, fault: Behave) -> None:
    """Seconds, and a date, which is at least one second ahead when it is written with whole ones."""
    judge.faults = [fault]
    assert main(judged(*judge.options)) == 0
    first, second = judge.requests[:2]
    assert first.user == second.user
    assert second.time - first.time >= 1


@pytest.mark.parametrize("fault", [slow, dripping])
def test_a_slow_judge_is_asked_again(judge: Judge, judged: Words, tmp_path: Path, fault: Behave) -> None:
    judge.faults = [fault]
    assert main(judged(*judge.options, "--timeout", "0.5")) == 0
    assert len(judge.requests) == TASKS + 1
    assert_each_asked_once(judge, tmp_path / "output")


@pytest.mark.parametrize("parallel", ["1", "4"])
def test_a_judge_that_stays_away_ends_in_one_line(
    judge: Judge, judged: Words, tmp_path: Path, parallel: str, capsys: Say
) -> None:
    """It goes away after five answers; the next start asks for the others alone."""
    away = status(503)
    judge.rate = lambda request: _away_after(judge, 5, away)
    assert main(judged(*judge.options, "--patience", "0.3", "--parallel", parallel)) == 75
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("danube: ")]
    assert "no answer after" in line and "HTTP 503" in line and "the same command goes on" in line
    kept = judgments(tmp_path / "output")
    assert len(kept) == sum(judge.answered.values()) >= 5
    judge.faults, judge.rate = [], lambda request: "[[3]]"
    assert main(judged(*judge.options, "--judge-only")) == 0
    assert_each_asked_once(judge, tmp_path / "output")
    assert judgments(tmp_path / "output")[: len(kept)] == kept


def _away_after(judge: Judge, count: int, away: Behave) -> str:
    if sum(judge.answered.values()) >= count and not judge.faults:
        judge.faults = [away] * 10_000
    return "[[7]]"


def test_nobody_at_the_address(judge: Judge, judged: Words, tmp_path: Path, capsys: Say) -> None:
    """Connections are refused; then somebody is there."""
    options = [
        judge.address.replace(str(_port(judge)), "9") if word == judge.address else word for word in judge.options
    ]
    assert main(judged(*options, "--patience", "0.2")) == 75
    assert "Connection refused" in capsys.readouterr().err
    assert main(judged(*judge.options)) == 0
    assert_each_asked_once(judge, tmp_path / "output")


def _port(judge: Judge) -> int:
    return int(judge.address.split(":")[2].split("/")[0])


def test_an_hour_is_not_waited_for(judge: Judge, judged: Words, capsys: Say) -> None:
    judge.faults = [status(429, Retry_After="3600")]
    assert main(judged(*judge.options, "--patience", "60")) == 75
    assert "it asks to wait 3,600 s" in capsys.readouterr().err
    assert len(judge.requests) == 1


@pytest.mark.parametrize("number", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_asked_again(judge: Judge, judged: Words, number: int, capsys: Say) -> None:
    judge.faults = [status(number, json.dumps({"error": {"message": "no such model"}}).encode())]
    assert main(judged(*judge.options)) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("danube: ")]
    assert f"HTTP {number} (no such model), asked about question 81, turn 1" in line
    assert len(judge.requests) == 1


def test_the_key_is_sent_and_shown_nowhere(judge: Judge, judged: Words, tmp_path: Path) -> None:
    """Neither where a server says it back, nor on a way to another server, nor in any file."""

    def says_it(handler: Handler, request: Request) -> None:
        handler.send(503, request.headers["Authorization"].encode())

    judge.faults = [says_it, status(500)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OUR_KEY": f"{KEY}\n"}
    done = run_danube(*judged(*judge.options, "--judge-key-env", "OUR_KEY"), env=env)
    assert done.returncode == 0, done.stderr
    assert {request.headers["Authorization"] for request in judge.requests} == {f"Bearer {KEY}"}
    assert "HTTP 503 (Bearer [the key])" in done.stderr
    assert KEY not in done.stderr + done.stdout
    files = [path for path in (tmp_path / "output").rglob("*") if path.is_file()]
    assert len(files) >= 6
    assert not any(KEY.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize("number", [302, 303, 307, 308])
def test_the_usual_variable_and_a_redirection(
    number: int, judge: Judge, judged: Words, monkeypatch: pytest.MonkeyPatch, capsys: Say
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running_judge() as other:
        judge.faults = [status(number, Location=other.address)]
        assert main(judged(*judge.options)) == 2
        assert f"points to {other.address}; give that address" in capsys.readouterr().err
        assert judge.requests[0].headers["Authorization"] == f"Bearer {KEY}"
        assert not other.requests


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "which judge? give --judge URL, or --answers-only"),
        (["--judge", "http://localhost:1/v1"], "which judge? give --judge-model NAME"),
        (["--judge", "localhost:8000/v1", "--judge-model", "x"], "no address of an API"),
        (["--judge", "http://localhost:x/v1", "--judge-model", "x"], "no address of an API"),
        (["--judge", "http://a b/v1", "--judge-model", "x"], "no address of an API"),
        (["--judge", f"http://u:{KEY}@localhost/v1", "--judge-model", "x"], "without user, password or query"),
        (["--judge", f"http://localhost/v1?key={KEY}", "--judge-model", "x"], "without user, password or query"),
        (["--judge", "http://localhost/v1", "--judge-model", "x", "--judge-key-env", "NOWHERE"], "not set in the env"),
        (["--judge", "http://localhost/v1", "--judge-model", "x", "--judge-key-env", "TWO"], "no key of an API"),
    ],
)
def test_options_that_name_no_judge(
    more: list[str], message: str, judged: Words, monkeypatch: pytest.MonkeyPatch, capsys: Say
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.setenv("TWO", f"{KEY}\nX-Other: 1")
    assert main(judged(*more)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line and KEY not in line


RATED = {
    "Rating: [[8]]": 8,
    "[[1]] then [[9]]": 1,
    "[[10]]": 10,
    "Rating: [[7.5]].": 7.5,
    "Rating: [6]": 6,
    "As [2] says: [[9]]": 9,
    "[[rating]] is [[4]]": 4,
}
UNRATED = ["no idea", "", "[[0]]", "[[55]]", "[[11]]", "[[-3]]", "Rating: 5", "[[five]]", "[[٣]]"]


def test_ratings_that_are_read(judge: Judge, judged: Words, tmp_path: Path) -> None:
    texts = list(RATED)
    judge.rate = lambda request: texts[(len(judge.requests) - 1) % len(texts)]
    assert main(judged(*judge.options)) == 0
    assert {record["judgment"]: record["score"] for record in judgments(tmp_path / "output")} == RATED


@pytest.mark.parametrize("text", [*UNRATED, None])
def test_no_rating_is_asked_for_once_more_then_left_out(
    text: str | None, judge: Judge, judged: Words, tmp_path: Path, capsys: Say
) -> None:
    """Of question 81's first turn twice without, of its second once; a further start asks nothing."""
    given = {"Q writing": [text, text], "Q1 writing": [text, "[[3]]"]}

    def rate(handler: Handler, request: Request) -> None:
        texts = next((left for begin, left in given.items() if request.user.startswith(begin)), [])
        handler.send(200, completion(texts.pop(0) if texts else "[[9]]"))

    judge.faults = [rate] * 100
    assert main(judged(*judge.options)) == 0
    assert len(judge.requests) == TASKS + 2
    out = capsys.readouterr().out
    found = result(tmp_path / "output")
    assert found["turn_1"]["writing"] == {"mean": None, "rated": 0, "unrated": 1}
    assert found["turn_1"]["average"] == {"mean": 9.0, "rated": 6, "unrated": 1}
    assert found["turn_2"]["average"] == {"mean": pytest.approx((6 * 9 + 3) / 7), "rated": 7, "unrated": 0}
    assert found["both_turns"]["unrated"] == 1
    assert found["unrated"] == [{"question_id": 81, "turn": 1}]
    rows = [line for line in out.splitlines() if "(1 unrated)" in line]
    assert [row.split()[0] for row in rows] == ["Writing", "Average"]
    assert "  question 81, turn 1" in out.splitlines()
    scores = [record["score"] for record in judgments(tmp_path / "output") if record["question_id"] == 81]
    assert sorted(scores) == [-1, -1, -1, 3], "FastChat leaves those of -1 out, too"
    assert main(judged(*judge.options)) == 0
    assert len(judge.requests) == TASKS + 2
