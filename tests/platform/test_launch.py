"""The launcher of a node's processes."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest

from custom_modules.platform.launch import launch


def test_a_stop_while_processes_start_reaches_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen

    def start_and_be_stopped(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        process = start(["sleep", "60"], **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_be_stopped)
    assert launch(2, [], threads=1) == 128 + signal.SIGTERM
