"""What else is installed does not change the model."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import danube_command, environment
from tests.support.runs import read_metrics

ONE_STEP = ["trainer.devices=1", "curriculum.stages.stage1.tokens=512", "curriculum.stage=stage1"]


@pytest.mark.slow
def test_an_apex_without_rms_norm(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """megatron-core asks for nothing but the name; NVIDIA's Apex and the one on PyPI are alike in that."""
    (tmp_path / "packages" / "apex").mkdir(parents=True)
    (tmp_path / "packages" / "apex" / "__init__.py").touch()
    for name, path in (("alone", []), ("beside_apex", [str(tmp_path / "packages")])):
        paths = os.pathsep.join([*path, str(Path(__file__).resolve().parents[2])])
        command = danube_command(*tiny(name, *ONE_STEP))
        done = subprocess.run(command, env={**environment(), "PYTHONPATH": paths}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("alone", "beside_apex")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 1
