"""`kill -9` of `danube sft` at any time, each followed by the same command: the run ends as one that was left alone."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.commands import environment, run_danube, start_danube
from tests.support.kills import KillAt
from tests.support.runs import assert_same_run, read_metrics
from tests.support.sft_samples import SFT, make_base, write_conversations

COUNTS = [pytest.param(4, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.campaign)]
RUN = [
    *SFT,
    "trainer.devices=1",
    "trainer.max_epochs=4",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens=600",
    "exp_manager.checkpoint_callback_params.save_last_n=2",
]
"""52 steps, and a checkpoint about every second one."""
WRITING = r".* checkpoints/\.tokens_H\.partial.*"
MOST_OPERATIONS = 30
"""With files, before which a kill comes while checkpoints are written: some more than one of them takes."""


@pytest.fixture(scope="module")
def words(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of a run, but for its folder."""
    folder = tmp_path_factory.mktemp("chats")
    model = prepared / "tokenizer" / "tokenizer.model"
    chats, base = write_conversations(folder / "chats", model), make_base(folder / "base", model)
    data = [f"data.dir={chats}", f"model.restore_from_path={base}"]
    return ["sft", "--config-name", "danube_sft_rehearsal", *RUN, *data, "exp_manager.name=run"]


@pytest.fixture(scope="module")
def undisturbed(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = run_danube(*words, f"exp_manager.exp_dir={folder}", timeout=600)
    assert ended.returncode == 0, ended.stderr
    return folder / "run"


def assert_ends_the_same(words: list[str], run_dir: Path, undisturbed: Path) -> None:
    ended = run_danube(*words, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert_same_run(run_dir, undisturbed)
    steps = [line["step"] for line in read_metrics(run_dir)]
    assert steps == sorted(set(steps)), "nothing is logged twice"
    assert not [path for path in (run_dir / "checkpoints").iterdir() if not path.name.startswith("tokens_")]


@pytest.mark.parametrize("count", COUNTS)
def test_killed_at_random_times(words: list[str], undisturbed: Path, tmp_path: Path, count: int) -> None:
    source = random.Random(count)
    ours = [*words, f"exp_manager.exp_dir={tmp_path}"]
    for _ in range(count):
        with start_danube(*ours) as process:
            assert process.stderr is not None
            for _ in range(source.randint(1, 12)):
                process.stderr.readline()
            time.sleep(source.uniform(0, 0.1))
            process.kill()
    assert_ends_the_same(ours, tmp_path / "run", undisturbed)


@pytest.mark.parametrize("count", COUNTS)
def test_killed_while_a_checkpoint_is_written(words: list[str], undisturbed: Path, tmp_path: Path, count: int) -> None:
    source = random.Random(count)
    ours = [*words, f"exp_manager.exp_dir={tmp_path}"]
    killed = 0
    for _ in range(count):
        moment = KillAt(str(tmp_path / "run"), WRITING, nth=source.randint(1, MOST_OPERATIONS))
        ended = run_danube(*ours, env={**environment(), **moment.environment()}, timeout=600)
        killed += ended.returncode == -signal.SIGKILL
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    assert killed >= count * 3 // 4
    assert_ends_the_same(ours, tmp_path / "run", undisturbed)
