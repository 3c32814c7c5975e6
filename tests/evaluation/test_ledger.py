"""The ledger beside a run: what was run on which checkpoint, once each, whoever writes, whatever a crash has left."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from custom_modules.evaluation.ledger import entries, note
from custom_modules.evaluation.results import Results
from custom_modules.run_folder.ownership import EVALUATIONS, made_in_run
from tests.support.evaluations import ZERO_SHOT, suite_results
from tests.support.limits import file_size_limit
from tests.support.rights import nobody


def finished(tokens: int = 1_000, suite: str = "danube-table1", value: float = 0.5, **more: object) -> Results:
    values = dict.fromkeys(ZERO_SHOT, value)
    plain = {"suite": suite, "kind": "run", "consumed_tokens": tokens, "weights": f"{tokens:064x}", **more}
    return suite_results(ZERO_SHOT, values, dict.fromkeys(ZERO_SHOT, 0.01), **plain)


def test_what_was_run_on_which_checkpoint_and_when(tmp_path: Path) -> None:
    assert entries(tmp_path) == []
    begun = time.time()
    note(tmp_path, finished(1_000))
    note(tmp_path, finished(2_000, "mine", limit=100, protocol="current"))
    first, second = entries(tmp_path)
    assert (first.suite, first.consumed_tokens, first.limit, first.protocol) == ("danube-table1", 1_000, None, "paper")
    assert (second.suite, second.consumed_tokens, second.limit, second.protocol) == ("mine", 2_000, 100, "current")
    assert begun - 1 <= first.time <= second.time <= time.time() + 1
    assert first.values == {f"{task}/{shots}": 0.5 for task, (shots, _) in ZERO_SHOT.items()}
    assert tmp_path / EVALUATIONS in list(made_in_run(tmp_path))


def test_a_finished_one_that_answers_again_is_not_noted_twice(tmp_path: Path) -> None:
    for _ in range(3):
        note(tmp_path, finished(1_000))
    note(tmp_path, finished(1_000, model="another/way/to/it"))
    assert len(entries(tmp_path)) == 1
    for other in ({"value": 0.4}, {"chat_template": True}, {"limit": 5}, {"weights": "f" * 64}):
        note(tmp_path, finished(1_000, **other))
    assert len(entries(tmp_path)) == 5


def test_a_line_that_was_cut_short_is_passed_over_and_harms_none(tmp_path: Path) -> None:
    note(tmp_path, finished(1_000))
    with (tmp_path / EVALUATIONS).open("ab") as file:
        file.write(b'{"time": 3.5, "suite": "ha')
    note(tmp_path, finished(2_000))
    assert [entry.consumed_tokens for entry in entries(tmp_path)] == [1_000, 2_000]


def test_several_at_once_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda tokens: note(tmp_path, finished(tokens)), range(40)))
    assert sorted(entry.consumed_tokens or 0 for entry in entries(tmp_path)) == list(range(40))


def test_a_full_disk_leaves_what_was_noted(tmp_path: Path) -> None:
    note(tmp_path, finished(1_000))
    size = (tmp_path / EVALUATIONS).stat().st_size
    with file_size_limit(size + 10), pytest.raises(UserError, match=EVALUATIONS):
        note(tmp_path, finished(2_000))
    note(tmp_path, finished(2_000))
    assert [entry.consumed_tokens for entry in entries(tmp_path)] == [1_000, 2_000]


def test_a_run_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=EVALUATIONS) as caught:
        note(tmp_path / "nowhere", finished())
    assert "\n" not in str(caught.value)


def test_somebody_elses_run_is_left_alone_and_that_is_said(
    open_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nobody():
        note(open_folder, finished(1_000))
    said = capsys.readouterr().err
    assert f"{open_folder / EVALUATIONS}: not yours to write" in said and said.count("\n") == 1
    assert not (open_folder / EVALUATIONS).exists()
    note(open_folder, finished(2_000))
    with nobody():
        note(open_folder, finished(3_000))
    assert [entry.consumed_tokens for entry in entries(open_folder)] == [2_000]
