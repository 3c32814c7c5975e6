"""What the project and megatron-core declare that they need, against what is installed. Imports none of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from custom_modules.version import VERSION

PROJECT = "danube-pretrain"
MEGATRON = "megatron-core"
TRANSFORMER_ENGINE = "transformer-engine"
_PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@dataclass(frozen=True)
class Requirement:
    """A package, and the versions of it that will do."""

    name: str
    specifier: str
    """The versions as declared, such as ``<2.12.0,>=2.9.0a0``; empty for any."""

    def __str__(self) -> str:
        return f"{self.name}{self.specifier}"

    def excludes(self, version: str) -> bool:
        """Whether a version is outside; no, where `packaging` is not there to tell."""
        try:
            from packaging.specifiers import SpecifierSet
        except ImportError:
            return False
        return not SpecifierSet(self.specifier).contains(version, prereleases=True)


def installed(name: str) -> str | None:
    """The version of a package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Return what a checkpoint says that it was written with; None for a package that is used and not installed."""
    return {"torch": installed("torch"), MEGATRON: installed(MEGATRON), PROJECT: VERSION}


@cache
def project_requirements() -> tuple[Requirement, ...]:
    """What this project cannot do without: of the ``pyproject.toml`` beside it, or else as it was installed."""
    if _PYPROJECT.is_file():
        return tuple(map(_parse, tomllib.loads(_PYPROJECT.read_text())["project"]["dependencies"]))
    return tuple(_parse(line) for line in metadata.requires(PROJECT) or () if "extra ==" not in line)


def declared_by(package: str) -> tuple[Requirement, ...]:
    """What an installed package and its extras ask for; nothing if it is not installed."""
    try:
        return tuple(map(_parse, metadata.requires(package) or ()))
    except metadata.PackageNotFoundError:
        return ()


def requirement(declared: Iterable[Requirement], name: str) -> Requirement:
    """The one for a package; if there is none, any version will do."""
    return next((wanted for wanted in declared if wanted.name == name), Requirement(name, ""))


def unmet(declared: Iterable[Requirement]) -> Iterator[tuple[Requirement, str | None]]:
    """Yield those that are missing or of another version, with the version that is there."""
    for wanted in declared:
        version = installed(wanted.name)
        if version is None or wanted.excludes(version):
            yield wanted, version


def _parse(line: str) -> Requirement:
    """Read a line such as ``transformer-engine[core_cu13,pytorch]<2.12.0,>=2.9.0a0; extra == "dev"``."""
    parts = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*([^;]*)", line)
    assert parts is not None, line
    return Requirement(re.sub(r"[-_.]+", "-", parts[1]).lower(), parts[2].strip(" ()"))
