"""Commands whose standard streams a shell has closed, or sends to where nothing can be written."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

from custom_modules.files import sha256_of
from tests.support.commands import danube_command, environment
from tests.support.runs import assert_same_run
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[bytes]
CLOSED = ["2>&-", "2>&- <&-", "2>/dev/full"]


@functools.cache
def danube(*words: str, streams: str = "") -> Run:
    """Run a command in a shell that does to its streams what is said."""
    shell = ["bash", "-c", f'exec "$@" {streams}', "bash", *danube_command(*words)]
    return subprocess.run(shell, env=environment(), capture_output=True, timeout=120)


@pytest.mark.parametrize("streams", CLOSED)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["plan", "--config-name", "danube_rehearsal"], 0),
        (["plan", "--config-name", "danube_rehearsal", "model.hiden_size=3"], 2),
        (["plan", "--no-such-option"], 2),
    ],
)
def test_stdout_and_exit_code_are_as_with_it(words: list[str], code: int, streams: str) -> None:
    """What is for stderr is not among the data on stdout."""
    with_it, without = danube(*words), danube(*words, streams=streams)
    assert with_it.returncode == without.returncode == code, without
    assert without.stdout == with_it.stdout
    assert bool(without.stdout) == (code == 0)


def test_without_stdout() -> None:
    done = danube("plan", "--config-name", "danube_rehearsal", streams=">&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.slow
def test_files_hold_nothing_that_was_for_stderr(prepared: Path, tmp_path: Path) -> None:
    """A library that writes to descriptor 2 would write into whatever file has that number."""
    source = [
        f"data.input={prepared.parent / 'text.jsonl'}",
        f"model.tokenizer.model={prepared.parent / 'tokenizer.model'}",
    ]
    shared = [*TINY, *source, "data.workers=2", "data.validation_fraction=0.1"]
    found = []
    for name, streams in (("open", ""), ("closed", "2>&- <&-")):
        words = ["--config-name", "danube_rehearsal", *shared, f"data.dir={tmp_path / name / 'data'}"]
        run = [*words, f"exp_manager.exp_dir={tmp_path / name}", "exp_manager.name=run", "trainer.devices=2"]
        for command in (["prepare", *words], ["pretrain", *run, "curriculum.stage=stage1"]):
            done = danube(*command, streams=streams)
            assert done.returncode == 0, done.stderr
            assert bool(done.stderr) == (streams == "")
        data = (tmp_path / name / "data").rglob("*.*")
        found.append({path.name: sha256_of(path) for path in data if path.suffix in (".bin", ".idx", ".model")})
    assert found[0] == found[1] and len(found[0]) > 4
    assert_same_run(tmp_path / "open" / "run", tmp_path / "closed" / "run")
