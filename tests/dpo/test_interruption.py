"""`kill -9` at any time, each followed by the same command: the run ends as one that was left alone, bit for bit."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.support.commands import environment, run_danube, start_danube
from tests.support.kills import KillAt
from tests.support.preferences import dpo_arguments
from tests.support.runs import checkpoints, records

COUNTS = [pytest.param(4, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.campaign)]
WRITING = r"(?:open|os\.mkdir|os\.rename) checkpoints/\.tokens_H\.partial.*"


@pytest.fixture(scope="module")
def undisturbed(export: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("undisturbed")
    ended = run_danube(*dpo_arguments(export, pairs, runs, "run"), timeout=600)
    assert ended.returncode == 0, ended.stderr
    return runs / "run"


def states(run_dir: Path) -> dict[str, object]:
    """Return what the last checkpoint holds, whose name says how far the run is."""
    last = checkpoints(run_dir)[-1]
    optimizer = torch.load(last / "optimizer.pt", weights_only=True)
    tensors = {(key, name): value for key, state in optimizer["state"].items() for name, value in state.items()}
    return {
        "name": last.name,
        "adapter": (last / "adapter_model.safetensors").read_bytes(),
        "optimizer": {key: value.tolist() for key, value in tensors.items()},
        "scheduler": torch.load(last / "scheduler.pt", weights_only=True),
    }


def assert_ends_the_same(arguments: list[str], run_dir: Path, undisturbed: Path) -> None:
    ended = run_danube(*arguments, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert records(run_dir) == records(undisturbed)
    assert states(run_dir) == states(undisturbed)
    assert not [path for path in (run_dir / "checkpoints").iterdir() if not path.name.startswith("tokens_")]


@pytest.mark.parametrize("count", COUNTS)
def test_killed_at_random_times(export: Path, pairs: Path, undisturbed: Path, tmp_path: Path, count: int) -> None:
    source = random.Random(count)
    arguments = dpo_arguments(export, pairs, tmp_path, "run")
    for _ in range(count):
        with start_danube(*arguments) as process:
            assert process.stderr is not None
            for _ in range(source.randint(1, 9)):
                process.stderr.readline()
            time.sleep(source.uniform(0, 0.2))
            process.kill()
    assert_ends_the_same(arguments, tmp_path / "run", undisturbed)


@pytest.mark.parametrize("count", COUNTS)
def test_killed_while_a_checkpoint_is_written(
    export: Path, pairs: Path, undisturbed: Path, tmp_path: Path, count: int
) -> None:
    source = random.Random(count)
    arguments = dpo_arguments(export, pairs, tmp_path, "run")
    killed = 0
    for _ in range(count):
        moment = KillAt(str(tmp_path / "run"), WRITING, nth=source.randint(1, 30))
        ended = run_danube(*arguments, env={**environment(), **moment.environment()}, timeout=600)
        killed += ended.returncode == -signal.SIGKILL
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    assert killed >= count // 2
    assert_ends_the_same(arguments, tmp_path / "run", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves(export: Path, pairs: Path, undisturbed: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Between two lines of the log, too: what was added up since the last one is saved."""
    arguments = dpo_arguments(export, pairs, tmp_path, "run", "trainer.log_every_n_samples=12")
    with start_danube(*arguments) as process:
        assert process.stderr is not None
        said = [process.stderr.readline()]
        while "saved" not in said[-1]:
            said.append(process.stderr.readline())
        process.send_signal(number)
        said.extend(process.stderr)
    assert process.returncode == 75, said
    assert re.search(rf"{number.name}: saved .*; the same command goes on from there", said[-1])
    ended = run_danube(*arguments, timeout=600)
    assert ended.returncode == 0, ended.stderr
    whole = run_danube(*dpo_arguments(export, pairs, tmp_path, "whole", "trainer.log_every_n_samples=12"), timeout=600)
    assert whole.returncode == 0, whole.stderr
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert states(tmp_path / "run") == states(undisturbed)


def test_a_damaged_checkpoint_is_passed_over(export: Path, pairs: Path, undisturbed: Path, tmp_path: Path) -> None:
    arguments = dpo_arguments(export, pairs, tmp_path, "run")
    assert run_danube(*arguments, timeout=600).returncode == 0
    newest = checkpoints(tmp_path / "run")[-1]
    content = bytearray((newest / "optimizer.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "optimizer.pt").write_bytes(content)
    ended = run_danube(*arguments, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert "skipped a checkpoint and left it in place" in ended.stderr
    assert states(tmp_path / "run") == states(undisturbed)
