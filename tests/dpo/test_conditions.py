"""`danube dpo` under other conditions: without a network or the libraries, on a full disk, in bf16, over two epochs."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from custom_modules.dpo import libraries
from custom_modules.errors import UserError
from custom_modules.platform.requirements import Requirement
from tests.support import warm
from tests.support.commands import danube_command, environment, run_danube
from tests.support.preferences import dpo_arguments
from tests.support.runs import read_metrics
from tests.support.small_disk import needs_small_disk, with_mounts

_WITHOUT_NETWORK = """
import socket, sys
def refuse(self, address, *more):
    print("ASKED", address, file=sys.stderr)
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda *given, **more: refuse(None, given)
from custom_modules.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_nobody_is_asked_or_told(export: Path, pairs: Path, tmp_path: Path) -> None:
    words = dpo_arguments(export, pairs, tmp_path, "run")
    not_ci = {name: value for name, value in environment().items() if name != "CI" and not name.startswith("HF_")}
    ended = warm.run([sys.executable, "-c", _WITHOUT_NETWORK, *words], env=not_ci, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert "ASKED" not in ended.stderr


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "project_requirements", lambda extra: (Requirement("trl-of-another-day", ">=1"),))
    with pytest.raises(UserError, match=r"danube dpo: trl-of-another-day not installed; pip install '.*'"):
        libraries.require_libraries()


@pytest.mark.slow
def test_bf16_and_recomputation_begin_at_ln_2(export: Path, pairs: Path, tmp_path: Path) -> None:
    overrides = ("trainer.precision=bf16-mixed", "model.activations_checkpoint_granularity=full")
    ended = run_danube(*dpo_arguments(export, pairs, tmp_path, "run", *overrides), timeout=600)
    assert ended.returncode == 0, ended.stderr
    first, *_, last = read_metrics(tmp_path / "run", "validation")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert last["preferences"]["accuracy"] > 0.9
    assert "Warning" not in ended.stderr


@pytest.mark.slow
def test_recomputation_changes_nothing(export: Path, pairs: Path, tmp_path: Path) -> None:
    """With dropout: what is computed again has the same."""
    for name, value in (("kept", "null"), ("again", "full")):
        words = dpo_arguments(export, pairs, tmp_path, name, f"model.activations_checkpoint_granularity={value}")
        assert run_danube(*words, timeout=600).returncode == 0
    for kept, again in zip(*(read_metrics(tmp_path / name) for name in ("kept", "again")), strict=True):
        assert kept["loss"] == pytest.approx(again["loss"], rel=1e-5)


@pytest.mark.slow
def test_two_epochs(export: Path, pairs: Path, tmp_path: Path) -> None:
    ended = run_danube(*dpo_arguments(export, pairs, tmp_path, "run", "trainer.max_epochs=2"), timeout=600)
    assert ended.returncode == 0, ended.stderr
    steps = int(
        next(line for line in ended.stderr.splitlines() if "steps an epoch" in line).split(" a step: ")[1].split()[0]
    )
    last = read_metrics(tmp_path / "run")[-1]
    assert last["step"] == 2 * steps
    assert last["learning_rate"] < 1e-5


@needs_small_disk
@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_save(export: Path, pairs: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = f"""
        mount -t tmpfs -o size=420k none {small}
        "$@"; echo "exit code $?"
        ls -A {small}/run/checkpoints
        mount -o remount,size=20m {small}
        "$@" 2>&1 | grep -E 'resuming|done'
    """
    done = with_mounts(script, *danube_command(*dpo_arguments(export, pairs, small, "run")))
    lines = done.stdout.splitlines()
    assert lines[0] == "exit code 2", done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith(f"danube: {small}/run/checkpoints/tokens_"), done.stderr
    assert "the disk is full (" in message and "free some space; tokens_" in message
    saved = [line for line in lines[1:] if line.startswith("tokens_")]
    assert saved and not [line for line in lines if line.endswith(".partial")]
    assert f"resuming from {small}/run/checkpoints/{saved[-1]}" in lines[-2]
    assert "done:" in lines[-1]
