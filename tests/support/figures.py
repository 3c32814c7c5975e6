"""Figures that tests measure, and that whoever runs them wants to see."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def print_figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Says what was measured, whether the test passes or not."""
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")
    reporter: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def say(figure: str) -> None:
        with capture.global_and_fixture_disabled():
            if hasattr(pytestconfig, "workerinput"):  # in one of xdist's, whose standard output nobody reads
                print(f"  {figure}", file=sys.stderr, flush=True)
                return
            reporter.ensure_newline()
            reporter.write_line(f"  {figure}")

    return say
