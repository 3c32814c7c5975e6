"""The kinds of runs, and what their configs begin with: a base file, and the architecture of another recipe's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.marks import section_in
from custom_modules.config.schema import Config, RunConfig
from custom_modules.config.sft import SftConfig
from custom_modules.errors import UserError

PRETRAIN = "pretrain"
KINDS: Mapping[str, type[RunConfig]] = {PRETRAIN: Config, "sft": SftConfig, "dpo": DpoConfig}
"""By the value of a recipe's ``kind``, which is also the command that trains it; pre-training's have no such key."""

AS_PRETRAINED = "pretrained"
"""The value of a key of ``model`` that is as in the recipe which ``pretrained`` names."""


def kind_name(plain: Mapping[str, Any]) -> str:
    """Return which of `KINDS` a composed config is of.

    Raises:
        UserError: ``kind`` is something else.
    """
    name = plain.get("kind", PRETRAIN)
    if name not in KINDS:
        raise UserError(f"kind={name}: no such kind of run; there are: {', '.join(KINDS)}")
    return str(name)


def config_kind(config: RunConfig) -> str:
    """Return which of `KINDS` a config is of."""
    return next(name for name, kind in KINDS.items() if kind is type(config))


def without_foreign(
    plain: Mapping[str, Any], base: Mapping[str, Any], section: type[BaseModel] | None
) -> dict[str, Any]:
    """Take out what stands in ``base.yaml`` for pre-training alone: keys that a section has not, with the same value.

    One with another value was given, and stays, to be refused.

    Args:
        section: the class of the config, or of a part of it; None: no key is one of it.
    """
    fields = section.model_fields if section else {}
    kept: dict[str, Any] = {}
    for key, value in plain.items():
        inner = base.get(key)
        if key in fields:
            own = section_in(fields[key].annotation)
            is_section = own is not None and isinstance(value, Mapping)
            kept[key] = (
                without_foreign(value, inner if isinstance(inner, Mapping) else {}, own) if is_section else value
            )
        elif isinstance(value, Mapping) and isinstance(inner, Mapping):
            if rest := without_foreign(value, inner, None):
                kept[key] = rest
        elif key not in base or value != inner:
            kept[key] = value
    return kept


def with_shape(plain: Mapping[str, Any], shape: BaseModel) -> dict[str, Any]:
    """Give the keys of ``model`` that say `AS_PRETRAINED` the values that another recipe's model has."""
    theirs, model = shape.model_dump(mode="json"), dict(plain["model"])
    as_there = {key: theirs[key] for key, value in model.items() if value == AS_PRETRAINED and key in theirs}
    return {**plain, "model": {**model, **as_there}}
