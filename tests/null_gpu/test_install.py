"""An environment of the null GPU that was left half built, or cannot be built at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.null_gpu.environments import ENVIRONMENTS, FOLDER, Environment
from tests.null_gpu.install import extension, python_packages
from tests.null_gpu.install.problem import CannotBeMadeError
from tests.null_gpu.install.record import RECORD, Step, make, unfinished
from tests.null_gpu.install.steps import STEPS

VERSIONS = Environment("tried", "python3.11", torch="2.0", megatron="0.1", transformer_engine="1.0")


class Attempt:
    """Steps that write down when they are made, of which one may fail."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.fails: str | None = None
        self.sources = "one"

    def steps(self) -> tuple[Step, ...]:
        def of(name: str, after: tuple[str, ...], inputs: Callable[[Environment], str]) -> Step:
            return Step(name, after, inputs, lambda _: self._make(name))

        return (
            of("venv", (), lambda environment: environment.python),
            of("torch", ("venv",), lambda environment: environment.torch),
            of("extension", ("torch",), lambda environment: environment.transformer_engine),
            of("library", ("torch",), lambda _: self.sources),
        )

    def _make(self, name: str) -> None:
        if name == self.fails:
            raise CannotBeMadeError(f"{name}: killed")
        self.made.append(name)


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return Attempt()


def say(_: str) -> None:
    """Say nothing of what is made."""


def test_one_half_built_is_noticed_and_built_on(attempt: Attempt) -> None:
    attempt.fails = "extension"
    with pytest.raises(CannotBeMadeError, match="killed"):
        make(VERSIONS, attempt.steps(), say)
    assert [step.name for step in unfinished(VERSIONS, attempt.steps())] == ["extension", "library"]
    attempt.fails = None
    make(VERSIONS, attempt.steps(), say)
    assert attempt.made == ["venv", "torch", "extension", "library"]
    assert unfinished(VERSIONS, attempt.steps()) == []


@pytest.mark.parametrize("left", ["", "{", "[]", "null", '{"venv": "of other versions"}'])
def test_a_record_that_says_nothing_of_use_is_none(attempt: Attempt, left: str) -> None:
    make(VERSIONS, attempt.steps(), say)
    (VERSIONS.folder / RECORD).write_text(left)
    assert len(unfinished(VERSIONS, attempt.steps())) == 4


def test_what_has_changed_is_made_anew_with_what_stands_on_it(attempt: Attempt) -> None:
    make(VERSIONS, attempt.steps(), say)
    attempt.made.clear()
    attempt.sources = "another"
    make(VERSIONS, attempt.steps(), say)
    assert attempt.made == ["library"]
    attempt.made.clear()
    newer = Environment("tried", "python3.11", torch="2.1", megatron="0.1", transformer_engine="1.0")
    make(newer, attempt.steps(), say)
    assert attempt.made == ["torch", "extension", "library"]


def test_an_empty_folder_or_one_of_packages_alone_is_not_an_environment(attempt: Attempt) -> None:
    VERSIONS.site_packages.mkdir(parents=True)
    assert [step.name for step in unfinished(VERSIONS, STEPS)] == [step.name for step in STEPS]


def test_a_python_that_is_not_there_is_named(attempt: Attempt) -> None:
    absent = Environment("tried", "python3.99", torch="2.0", megatron="0.1", transformer_engine="1.0")
    with pytest.raises(CannotBeMadeError, match=r"python3\.99: not installed"):
        python_packages.make_venv(absent)


def test_pyenvs_python_is_found_that_is_not_switched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shim is on the path, and fails."""
    shim, real = tmp_path / "shims" / "python3.99", tmp_path / ".pyenv" / "versions" / "3.99.1" / "bin" / "python3.99"
    for program, text in ((shim, "exit 127"), (real, f'exec "{sys.executable}" "$@"')):
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(shim.parent), prepend=os.pathsep)
    monkeypatch.setenv(FOLDER, str(tmp_path / "environments"))
    made = Environment("tried", "python3.99", torch="2.0", megatron="0.1", transformer_engine="1.0")
    python_packages.make_venv(made)
    assert made.interpreter.exists()


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=str)
def test_torch_itself_says_what_it_brings(environment: Environment) -> None:
    """The project's constraints are for another torch, which brings other versions of NVIDIA's libraries."""
    lines = python_packages.wanted_packages(environment).splitlines()
    wanted, constraints = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert constraints
    assert [line for line in constraints if line.startswith(("torch=", "triton=", "nvidia-cu", "cuda-"))] == []
    assert f"megatron-core=={environment.megatron}" in wanted


def test_each_file_of_the_extension_is_in_one_of_a_few_parts_of_the_same_length(tmp_path: Path) -> None:
    (tmp_path / "extensions").mkdir()
    lengths = {f"extensions/{name}": 100 * number for number, name in enumerate("abcdefgh")} | {"common": 900}
    for name, length in lengths.items():
        (tmp_path / f"{name}.cpp").write_text(" " * length)
    extension.join(tmp_path)
    parts = [path.read_text().split() for path in tmp_path.rglob("*.cpp")]
    included = [word.strip('"') for words in parts for word in words[1::2]]
    assert sorted(included) == sorted(f"{name}.inc" for name in lengths)
    assert all((tmp_path / name).is_file() for name in included)
    assert len(parts) == extension.PARTS
    totals = [sum((tmp_path / word.strip('"')).stat().st_size for word in words[1::2]) for words in parts]
    assert max(totals) - min(totals) <= 300
