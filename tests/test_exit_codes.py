"""Which failures are a mistake, and which may pass: scripts requeue by the code."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from custom_modules import cli
from custom_modules.errors import UserError, exit_code
from custom_modules.files import explained
from custom_modules.platform import launch
from custom_modules.platform.launch import LAUNCHER, patience
from tests.support.commands import environment, run_danube, start_danube
from tests.support.runs import checkpoints

ERRORS = [("EIO", 74), ("ESTALE", 74), ("ENOTCONN", 74), ("ENOSPC", 2), ("EDQUOT", 2), ("EACCES", 2), ("EROFS", 2)]


@pytest.mark.parametrize(("name", "code"), ERRORS)
def test_what_a_file_system_says(name: str, code: int, tmp_path: Path) -> None:
    """Worded by us, or raised anew from it; here, and where another process has it."""
    number = getattr(errno, name)
    with pytest.raises(UserError) as told, explained(tmp_path / "a"):
        raise OSError(number, os.strerror(number), str(tmp_path / "a"))
    try:
        try:
            raise OSError(number, os.strerror(number))
        except OSError:
            raise UserError("another wording") from None
    except UserError as error:
        for found in (told.value, error):
            assert [exit_code(one) for one in (found, pickle.loads(pickle.dumps(found)))] == [code, code]


@pytest.mark.parametrize(("name", "code"), [*ERRORS, ("ENOTDIR", 2), ("EISDIR", 2)])
def test_what_nobody_expected(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_text(path: Path, *arguments: object, **options: object) -> str:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)), str(path))

    monkeypatch.setattr(Path, "read_text", read_text)
    assert cli.main(["status", str(tmp_path)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("danube: ")
    assert os.strerror(getattr(errno, name)) in line


def test_the_process_that_says_why_is_the_first_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """srun and torchrun kill all processes when one fails; our own launcher gives the others time."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.delenv(LAUNCHER, raising=False)
    for name in ("WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    for rank, said, seconds in (("0", "danube: nonsense: not KEY=VALUE", []), ("1", "", [patience()])):
        for name in ("RANK", "LOCAL_RANK"):
            monkeypatch.setenv(name, rank)
        assert cli.main(["pretrain", "nonsense"]) == 2
        assert capsys.readouterr().err.startswith(said)
        assert waited == seconds
    monkeypatch.setenv(LAUNCHER, "1")
    monkeypatch.setattr(launch, "end_with", lambda launcher: None)
    assert cli.main(["pretrain", "nonsense"]) == 2
    assert waited == seconds
    assert not capsys.readouterr().err


@pytest.mark.parametrize("rank", ["1", "x", ""])
def test_a_rank_in_a_users_shell_silences_nothing(rank: str) -> None:
    for command in ("plan", "pretrain"):
        done = run_danube(command, "model.hiden_size=3", env={**environment(), "RANK": rank})
        assert done.returncode == 2
        assert done.stderr.startswith("danube: model.hiden_size=3: no such key")


@pytest.mark.slow
def test_a_port_that_was_given_and_is_in_use(tiny: Callable[..., list[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = str(somebody.getsockname()[1])
        place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for command in ("pretrain", "preflight"):
            done = run_danube(command, *tiny("run", "trainer.devices=2")[1:], env={**environment(), **place})
            assert done.returncode == 74, done.stderr
            assert f"danube: MASTER_PORT={port}: something on " in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "meaning"), [(signal.SIGKILL, "memory"), (signal.SIGBUS, "mapped")])
def test_a_process_that_a_signal_has_ended(
    number: signal.Signals, meaning: str, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    process = start_danube(*tiny("run", "trainer.devices=2"))
    assert process.stderr is not None
    for line in process.stderr:
        if "saved " in line:
            break
    psutil.Process(process.pid).children()[1].send_signal(number)
    said = process.stderr.read()
    assert process.wait(60) == 128 + number
    (line,) = [line for line in said.splitlines() if number.name in line]
    assert line.startswith(f"danube: process 1 of 2 was ended by {number.name}: ")
    assert meaning in line
    assert line.endswith(
        f"the last checkpoint is {checkpoints(tmp_path / 'run')[-1]}, and the same command goes on from there"
    )
