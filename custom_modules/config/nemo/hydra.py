"""Hydra's own keys: it composes the config, and neither runs, logs nor makes folders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custom_modules.config.nemo.fates import anyway, refused, section
from custom_modules.config.nemo.settings import Settings
from custom_modules.text import flatten

FOLDER = "Hydra makes no folder here: a run's is exp_manager.exp_dir/exp_manager.name"
LOGGING = "Hydra logs nothing here; leave it out"

ABSENT = object()
OFF = ("disabled", "none", "null", None)

HYDRA = (
    anyway("hydra.run.dir", (".",), "the working directory stays the same", FOLDER),
    anyway("hydra.output_subdir", (None,), "Hydra writes nothing", FOLDER),
    anyway("hydra.job.chdir", (False,), "the working directory stays the same", FOLDER),
    refused("hydra.sweep.dir", FOLDER),
    anyway("hydra.job_logging", OFF, "Hydra logs nothing", LOGGING),
    section("hydra.job_logging", LOGGING),
    anyway("hydra.hydra_logging", OFF, "Hydra logs nothing", LOGGING),
    section("hydra.hydra_logging", LOGGING),
    section("hydra", "is not read here: Hydra only composes the config; leave it out"),
)


def without_hydra(overrides: Sequence[str], file: Path) -> tuple[list[str], dict[str, Any]]:
    """Take what is said of Hydra itself out of the overrides, but for where it searches.

    Args:
        file: the config that is composed; what it says of Hydra, Hydra alone would see.

    Returns:
        The other overrides, and Hydra's keys with their values, nested.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    found = Settings({})
    rest = []
    for override in overrides:
        key = override.partition("=")[0].lstrip("+").replace("/", ".")
        if not key.startswith("hydra.") or key == "hydra.searchpath":
            rest.append(override)
            continue
        try:
            found.put(key, OverridesParser.create().parse_override(override).value())
        except OverrideParseException:
            rest.append(override)
    try:
        said = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, OmegaConfBaseException, YAMLError):
        said = None
    if isinstance(said, dict) and isinstance(said.get("hydra"), dict):
        for key, value in flatten({"hydra": said["hydra"]}):
            if key != "hydra.searchpath" and found.get(key, ABSENT) is ABSENT:
                found.put(key, value)
    return rest, found.plain


def register_resolvers() -> None:
    """Let values have NeMo's ``${multiply:...}`` and ``${sum:...}``."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("multiply", lambda *numbers: math.prod(numbers), replace=True)
    OmegaConf.register_new_resolver("sum", lambda *numbers: sum(numbers), replace=True)
