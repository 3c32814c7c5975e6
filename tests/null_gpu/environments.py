"""The environments that the null GPU is tried in: an engine, and the Transformer Engine and torch that go with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "NULL_GPU_ENVIRONMENTS"
"""Environment variable: where they are, instead of ``.venv-null-gpu`` in the checkout."""


@dataclass(frozen=True)
class Environment:
    """Versions that are tried together, and where they are installed."""

    name: str
    python: str
    """The interpreter's command."""
    torch: str
    """A version that is built for CUDA."""
    megatron: str
    transformer_engine: str

    @property
    def folder(self) -> Path:
        return Path(os.environ.get(FOLDER) or ROOT / ".venv-null-gpu") / self.name

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    @property
    def interpreter(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return self.venv / "lib" / self.python / "site-packages"

    @property
    def library(self) -> Path:
        """What is preloaded; under the driver's name, so that whoever opens that one gets this."""
        return self.folder / "library" / "libcuda.so.1"

    def __str__(self) -> str:
        return f"megatron-core {self.megatron}, Transformer Engine {self.transformer_engine}, {self.python}"


ENVIRONMENTS = {
    made.name: made
    for made in (
        Environment("0.16", "python3.11", torch="2.14.1", megatron="0.16.1", transformer_engine="2.11.0"),
        Environment("0.19", "python3.12", torch="2.14.1", megatron="0.19.2", transformer_engine="2.20.2"),
    )
}
