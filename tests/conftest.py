"""The `danube` command as a subprocess, and small prepared data to train on."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import run_danube
from tests.support.evaluated import Evaluated, make_evaluated
from tests.support.parsed_once import parse_once
from tests.support.tiny import TINY, prepare

parse_once()
LONGEST = ("test_rehearsal.py", "test_gpu_day.py", "test_gpu_tests.py")
"""Files whose tests take minutes."""


def pytest_configure() -> None:
    """Take SIGINT, which a shell has its jobs in the background ignore, so that programs under test take it too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: at the end, the other process would have nothing left to do."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def danube() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command to its end; returns its exit code and output."""
    return run_danube


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``data.dir`` that `danube prepare` made from 400 small documents, for the TINY config."""
    return prepare(tmp_path_factory.mktemp("prepared"), 400, TINY)


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """A run of a small model to evaluate, its export, data and suites; not to be changed."""
    return make_evaluated(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def tiny(prepared: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Arguments of a `danube pretrain` on the prepared data, with its runs below ``tmp_path``."""

    def arguments(name: str, *overrides: str) -> list[str]:
        folders = [f"data.dir={prepared}", f"exp_manager.exp_dir={tmp_path}", f"exp_manager.name={name}"]
        return ["pretrain", "--config-name", "danube_rehearsal", *TINY, *folders, *overrides]

    return arguments


@pytest.fixture
def single_process() -> Iterator[None]:
    """megatron-core running on the CPU in this very process."""
    from custom_modules.config.load import load_config
    from custom_modules.platform import Platform
    from custom_modules.platform.megatron import import_megatron

    import_megatron()
    config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1"])
    with Platform.detect(config).running(config):
        yield


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody reaches; as root only, since others lose nothing by becoming nobody."""
    if os.geteuid():
        pytest.skip("only root can take rights away from itself")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
