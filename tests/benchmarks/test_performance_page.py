"""docs/performance.md: each section's figures come from a command that this repository has."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "performance.md").read_text(), flags=re.MULTILINE)[1:]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("section", SECTIONS, ids=[section.partition("\n")[0] for section in SECTIONS])
def test_a_section_names_the_command_that_prints_it(section: str) -> None:
    targets = re.findall(r"`make ([\w-]+)", section)
    modules = re.findall(r"`python -m ([\w.]+)`", section)
    assert targets or modules
    assert set(targets) <= set(TARGETS)
    assert all(find_spec(module) for module in modules)
