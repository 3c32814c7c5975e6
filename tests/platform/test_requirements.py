"""Which versions the program runs on: what `pyproject.toml` says to pip holds when a command is started, too."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from custom_modules.platform.requirements import applies, project_requirements
from custom_modules.version import PYTHONS
from tests.fake_transformer_engine.start import packages
from tests.support.commands import danube_command
from tests.support.machine import Machine

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
PYTHON = ".".join(map(str, sys.version_info[:2]))


def lines() -> Iterator[tuple[str, str]]:
    """Every requirement of the project, with its extra."""
    yield from (("", line) for line in PROJECT["dependencies"])
    yield from ((extra, line) for extra, more in PROJECT["optional-dependencies"].items() for line in more)


def test_markers_hold_where_pip_says_so() -> None:
    for extra, line in lines():
        wanted = Requirement(line)
        expected = wanted.marker is None or wanted.marker.evaluate({"extra": extra})
        assert applies(line.partition(";")[2], extra) is expected, line


@pytest.mark.parametrize(
    ("marker", "extra", "holds"),
    [
        ("", "", True),
        ("python_version < '3.100'", "", True),
        ("python_version >= '3.100'", "", False),
        ('python_version >= "3.9" and extra == "gpu"', "gpu", True),
        ('(python_version >= "3.9") and extra == "gpu"', "dev", False),
        ("sys_platform != 'linux' and python_version >= '3.9'", "", sys.platform != "linux"),
    ],
)
def test_what_markers_say(marker: str, extra: str, holds: bool) -> None:
    assert applies(marker, extra) is holds


def test_the_pythons_are_those_of_pip() -> None:
    declared, (first, last) = SpecifierSet(PROJECT["requires-python"]), PYTHONS
    for minor in range(8, 20):
        assert declared.contains(f"3.{minor}") is (first <= (3, minor) <= last)


def test_each_python_has_one_megatron_core_and_a_transformer_engine_that_fits_it() -> None:
    for minor in range(PYTHONS[0][1], PYTHONS[1][1] + 1):
        here = {"python_version": f"3.{minor}", "extra": "gpu"}
        wanted = [Requirement(line) for extra, line in lines() if extra in ("", "gpu")]
        names = [one.name for one in wanted if one.marker is None or one.marker.evaluate(here)]
        assert names.count("megatron-core") == names.count("transformer-engine") == 1


def test_the_megatron_core_of_this_python_is_here() -> None:
    (wanted,) = [one for one in project_requirements() if one.name == "megatron-core"]
    assert wanted.specifier == f"=={metadata.version('megatron-core')}"


def test_another_megatron_core(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.package("megatron_core", "0.17.0", {})
    command = danube_command("pretrain", "--config-name", "danube_rehearsal", "trainer.devices=1")
    done = subprocess.run(command, env=machine.environment, cwd=machine.folder, capture_output=True, text=True)
    assert done.returncode == 2
    wanted = f"megatron-core=={metadata.version('megatron-core')}"
    assert done.stderr == (
        f"danube: megatron-core 0.17.0: under Python {PYTHON} the program runs on {wanted.partition('==')[2]}; "
        f"pip install '{wanted}'\n"
    )
    finding = machine.examine().findings["megatron-core"]
    assert (finding["found"], finding["state"], finding["remedy"]) == ("0.17.0", "wrong", f"pip install '{wanted}'")


@pytest.mark.parametrize("version", [(3, 10, 2), (3, 14, 0)])
def test_another_python(version: tuple[int, int, int]) -> None:
    program = f"import sys; from custom_modules import cli; sys.version_info = {version}; sys.exit(cli.main(['plan']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    first, last = (f"{major}.{minor}" for major, minor in PYTHONS)
    assert done.stderr == (
        f"danube: Python {'.'.join(map(str, version))} ({sys.executable}): Danube runs on {first} to {last}; start it "
        "with one of them\n"
    )


MISFIT = "1.13.0"
"""A Transformer Engine that fits no megatron-core of today."""


@pytest.mark.slow
def test_a_transformer_engine_that_does_not_fit() -> None:
    """It is not taken for one that can be used, by whatever name its version is known."""
    program = f"""
import torch
import transformer_engine
transformer_engine.__version__ = {MISFIT!r}
torch.cuda.is_available = lambda: True
from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.platform.kernels import choose_kernels, find_software
from custom_modules.platform.megatron import import_megatron
import_megatron("gpu")
from megatron.core.extensions.transformer_engine import HAVE_TE
software = find_software("gpu")
[note] = choose_kernels(load_config("danube_1_8b", ["model.fp8=null"]), "gpu", software).notes
print(HAVE_TE, note, sep="\\n")
for overrides in ([], ["model.fp8=null", "model.transformer_engine=true"]):
    try:
        choose_kernels(load_config("danube_1_8b", overrides), "gpu", software)
    except UserError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], env=packages(), capture_output=True, text=True, check=True)
    found, *lines = done.stdout.splitlines()
    (wanted,) = project_requirements("gpu")
    assert found == "False"
    assert [line.partition(" ")[0] for line in lines] == ["no", "model.fp8=hybrid:", "model.transformer_engine=true:"]
    for line in lines:
        megatron = metadata.version("megatron-core")
        assert f"({MISFIT} does not fit megatron-core {megatron}, which takes {wanted.specifier})" in line
        assert "pip install --no-build-isolation 'transformer-engine[pytorch,core-cu" in line
        assert f"]{wanted.specifier}'" in line
