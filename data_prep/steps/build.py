"""From the names and options of ``data.steps`` to the steps themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_prep.documents import Step


def build_steps(chosen: Mapping[str, Mapping[str, Any]]) -> tuple[Step, ...]:
    """The steps that look at one document at a time, in the order given.

    Raises:
        UserError: an option that a step does not have, or a file it cannot use.
    """
    return tuple(_BUILDERS[name](**options) for name, options in chosen.items())


_BUILDERS: dict[str, Any] = {}
