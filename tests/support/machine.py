"""A machine to examine: this one, with programs on PATH and packages on PYTHONPATH that a test puts there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.commands import danube_command, environment


@dataclass(frozen=True)
class Examination:
    """What `danube doctor --json` said."""

    code: int
    report: dict[str, Any]
    findings: dict[str, dict[str, Any]]
    """By check."""
    errors: str


class Machine:
    """Runs `danube doctor` on this machine with something added to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.packages = folder / "packages"
        self.programs.mkdir()
        self.packages.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        path = [str(self.packages), str(Path(__file__).resolve().parents[2])]
        return {
            **{name: value for name, value in environment().items() if not name.startswith("SLURM_")},
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(path),
        }

    def program(self, name: str, script: str) -> None:
        """A program on PATH, as a shell script."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def package(self, name: str, version: str, files: Mapping[str, str], summary: str = "") -> None:
        """An installed Python package: its files, and what pip would know of it."""
        for file, content in files.items():
            path = self.packages / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        info = self.packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {summary}\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = danube_command("doctor", *arguments)
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=120
        )

    def examine(self, *arguments: str) -> Examination:
        done = self.run("--json", *arguments)
        report = json.loads(done.stdout)
        findings = {finding["check"]: finding for finding in report["findings"]}
        assert len(findings) == len(report["findings"])
        return Examination(done.returncode, report, findings, done.stderr)
