"""What the project declares that it needs under this Python, against what is installed. Imports none of it."""

from __future__ import annotations

import operator
import platform
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.version import VERSION

PROJECT = "danube-pretrain"
MEGATRON = "megatron-core"
TRANSFORMER_ENGINE = "transformer-engine"
_PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


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
def project_requirements(extra: str = "") -> tuple[Requirement, ...]:
    """What this project cannot do without under this Python: by the ``pyproject.toml`` beside it, or as installed.

    Args:
        extra: what this one of the project's extras asks for, and nothing else.
    """
    if _PYPROJECT.is_file():
        project = tomllib.loads(_PYPROJECT.read_text())["project"]
        lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    else:
        lines = [line for line in metadata.requires(PROJECT) or () if ("extra ==" in line) == bool(extra)]
    return tuple(_parse(line) for line in lines if applies(line.partition(";")[2], extra))


def applies(marker: str, extra: str = "") -> bool:
    """Whether a requirement's marker lets it hold here: one of comparisons joined by ``and``, as this project's are."""
    here = {
        "extra": extra,
        "platform_machine": platform.machine(),
        "platform_system": platform.system(),
        "python_version": ".".join(map(str, sys.version_info[:2])),
        "sys_platform": sys.platform,
    }
    for term in marker.split(" and ") if marker.strip() else ():
        compared = re.fullmatch(r"[\s(]*(\w+)\s*([<>=!]=?)\s*['\"](.*)['\"][\s)]*", term)
        assert compared is not None, marker
        name, comparison, value = compared.groups()
        sides = (here[name], value)
        if name == "python_version":
            found = _COMPARISONS[comparison](*(tuple(map(int, side.split("."))) for side in sides))
        else:
            found = _COMPARISONS[comparison](*sides)
        if not found:
            return False
    return True


def requirement(declared: Iterable[Requirement], name: str) -> Requirement:
    """The one for a package; if there is none, any version will do."""
    return next((wanted for wanted in declared if wanted.name == name), Requirement(name, ""))


def check_megatron_version() -> None:
    """Raises UserError where megatron-core is not there, or is not the one that the program runs on here."""
    wanted, version = requirement(project_requirements(), MEGATRON), installed(MEGATRON)
    if version is None or wanted.excludes(version):
        python = ".".join(map(str, sys.version_info[:2]))
        raise UserError(
            f"{MEGATRON} {version or 'is not installed'}: under Python {python} the program runs on "
            f"{wanted.specifier.lstrip('=')}; pip install '{wanted}'"
        )


def transformer_engine_here() -> Requirement:
    """The versions of Transformer Engine that fit the megatron-core of this Python."""
    return requirement(project_requirements("gpu"), TRANSFORMER_ENGINE)


def install_transformer_engine(cuda: str | None) -> str:
    """Return the command that installs one which fits.

    Args:
        cuda: the version of CUDA that torch is built with; None if it is not known.
    """
    wanted, major = transformer_engine_here(), cuda.partition(".")[0] if cuda else "13"
    return f"pip install --no-build-isolation '{wanted.name}[pytorch,core-cu{major}]{wanted.specifier}'"


def transformer_engine_misfit(version: str) -> str | None:
    """Say why a version of Transformer Engine cannot be used with the megatron-core installed; None if it can."""
    wanted = transformer_engine_here()
    if not wanted.excludes(version):
        return None
    return f"{version} does not fit {MEGATRON} {installed(MEGATRON)}, which takes {wanted.specifier}"


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
