"""Disks that are full soon: a tmpfs in a mount namespace of its own, which no other process sees."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.support.commands import environment

_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def _can_mount() -> bool:
    command = [*_NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


needs_small_disk = pytest.mark.skipif(not _can_mount(), reason="needs a user namespace in which tmpfs can be mounted")


def with_mounts(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a bash script that may mount, with arguments as its ``$@``."""
    return subprocess.run(
        [*_NAMESPACE, "bash", "-c", script, "-", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
