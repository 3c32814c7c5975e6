"""A step by its name, and the page that lists them all."""

from __future__ import annotations

import json
from difflib import get_close_matches

from custom_modules.data_steps.step import REQUIRED, DataStep, Option
from custom_modules.data_steps.table import DATA_STEPS
from custom_modules.errors import UserError

_LOOKS_AT = {"document": "looks at a document alone", "corpus": "looks at all documents"}


def find_step(name: str, key: str) -> DataStep:
    """Return the step of a name.

    Args:
        key: what the name was given as, for the message.

    Raises:
        UserError: there is none.
    """
    by_name = {step.name: step for step in DATA_STEPS}
    if name not in by_name:
        close = get_close_matches(name, by_name, n=1, cutoff=0.4)
        advice = f"did you mean {close[0]}?" if close else f"use {', '.join(by_name)}"
        raise UserError(f"{key} {name}: no such step; {advice}")
    return by_name[name]


def help_page() -> str:
    """Return what `danube prepare --help-steps` prints: every step, in the order they run."""
    intro = (
        "Steps, in the order they run. Switch one on with data.steps.NAME={} or data.steps.NAME={OPTION: VALUE}, and\n"
        "off with data.steps.NAME=null. Behind a default stands where it is from: the paper that is named, or a library"
    )
    return "\n\n".join([intro, *map(_section, DATA_STEPS)])


def _section(step: DataStep) -> str:
    lines = [f"{step.name}: {step.what}", f"  {_LOOKS_AT[step.looks_at]}; from {step.source}"]
    names = max((len(option.name) for option in step.options), default=0)
    types = max((len(option.type) for option in step.options), default=0)
    lines += [f"  {option.name:{names}}  {option.type:{types}}  {_default(option)}" for option in step.options]
    return "\n".join(lines if step.options else [*lines, "  no options"])


def _default(option: Option) -> str:
    if option.default is REQUIRED:
        if option.yours:
            return f"needed: {option.yours}"
        return f"needed; made with: {option.made_by}" if option.made_by else "needed"
    return f"default {json.dumps(option.default)}" + (f"  ({option.source})" if option.source else "")
