"""The extra ``eval``: lm-evaluation-harness and what reads data sets. Imports none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from custom_modules.errors import UserError
from custom_modules.platform.requirements import project_requirements, unmet

if TYPE_CHECKING:
    from custom_modules.config.schema import Config

EXTRA = "eval"


def missing_library() -> tuple[str, str] | None:
    """Return what of the extra is not there, or of another version, and the command that installs it."""
    problems = list(unmet(project_requirements(EXTRA)))
    if not problems:
        return None
    found = ", ".join(f"{wanted.name} {version or 'not installed'}" for wanted, version in problems)
    return found, "pip install " + " ".join(f"'{wanted}'" for wanted, _ in problems)


def require_library(key: str, way: str = "") -> None:
    """Make sure that the extra's packages are there.

    Args:
        key: what needs them, as a user wrote it.
        way: what else would do, with ``, or `` in front of it.

    Raises:
        UserError: one is missing, or of a version that this program does not fit.
    """
    problem = missing_library()
    if problem:
        found, command = problem
        raise UserError(f"{key}: {found}; {command}, or 'danube-pretrain[{EXTRA}]'{way}")


def require_tasks(config: Config) -> None:
    """Raises UserError if ``trainer.evaluate`` needs the extra and it is not there. Imports no torch."""
    if config.trainer.evaluate is not None:
        require_library("trainer.evaluate", ", or set trainer.evaluate=null")
