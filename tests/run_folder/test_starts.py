"""A job that only ever starts is stopped; one that gets on is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from custom_modules.errors import UserError
from custom_modules.run_folder.starts import STARTS, read_starts, record_start, this_start


def start(tokens: int, restart: int, run_dir: Path, job: int = 7, rollbacks: int = 0) -> None:
    env = {"SLURM_JOB_ID": str(job), "SLURM_RESTART_COUNT": str(restart), "SLURM_JOB_NODELIST": "node[1-2]"}
    now = this_start(tokens, env, rollbacks)
    assert now is not None
    record_start(run_dir, now)


def test_outside_slurm_nothing_is_a_start() -> None:
    assert this_start(0, {}) is None


def test_two_restarts_from_the_same_tokens_are_one_too_many(tmp_path: Path) -> None:
    start(100, 0, tmp_path)
    start(100, 1, tmp_path)
    with pytest.raises(UserError, match="job 7: 2 restarts from 100 tokens brought no progress"):
        start(100, 2, tmp_path)
    assert [(s.restart, s.consumed_tokens, s.nodes) for s in read_starts(tmp_path)] == [
        (number, 100, "node[1-2]") for number in range(3)
    ]


def test_progress_between_restarts_is_enough(tmp_path: Path) -> None:
    for restart, tokens in enumerate((0, 0, 100, 100 + 1, 200)):
        start(tokens, restart, tmp_path)


def test_going_back_between_restarts_is_no_standstill(tmp_path: Path) -> None:
    start(100, 1, tmp_path)
    start(100, 2, tmp_path, rollbacks=1)
    with pytest.raises(UserError, match="job 7: 2 restarts from 100 tokens"):
        start(100, 3, tmp_path, rollbacks=1)


def test_another_job_begins_anew(tmp_path: Path) -> None:
    for job in (7, 8):
        start(100, 0, tmp_path, job)
        start(100, 1, tmp_path, job)


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    start(100, 0, tmp_path)
    with (tmp_path / STARTS).open("a") as stream:
        stream.write('{"job_id": 7, "resta\n')
    assert len(read_starts(tmp_path)) == 1
    start(100, 1, tmp_path)
