"""The phases of a run whose batch grows, for its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from custom_modules.config.load import validate, with_defaults
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.phases import plan_phases


def phases_of_run(plain: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Return the rows of a table with `custom_modules.plan.phases.HEADER`: the phases of the stages whose batch grows.

    Args:
        plain: the config of the run's last start; none of one that cannot be read.
    """
    try:
        curriculum = Curriculum.from_config(validate(with_defaults(plain)))
    except UserError:
        return ()
    growing = (stage for stage in curriculum.stages if stage.rampup is not None)
    return tuple(phase.cells(stage.name) for stage in growing for phase in plan_phases(stage))
