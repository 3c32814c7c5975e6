"""From the names and options of ``data.steps`` to the steps themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from custom_modules.config.schema import Config
from custom_modules.errors import UserError
from custom_modules.files import folder_digest
from data_prep.across.meaning import NAMES, semantic_options
from data_prep.across.minhash import minhash_config
from data_prep.input.documents import ScoringStep, Step

ACROSS = ("exact", "minhash", *NAMES)
"""The steps that compare documents with each other, in the order they run: behind all others."""


@dataclass(frozen=True)
class Steps:
    """What documents go through."""

    alone: tuple[Step, ...]
    """Those that look at one document at a time, in their order."""
    across: Mapping[str, Mapping[str, Any]]
    """The options of those in `ACROSS`."""

    @property
    def scores(self) -> tuple[str, ...]:
        """Those that score what they keep."""
        return tuple(step.name for step in self.alone if isinstance(step, ScoringStep))

    @property
    def identity(self) -> list[tuple[str, dict[str, Any]]]:
        """What defines the outcome, the contents of files that steps read included."""
        alone = [(step.name, dict(step.options)) for step in self.alone]
        across = [(name, dict(options)) for name, options in self.across.items()]
        for name, options in across:
            if name in NAMES:
                options["encoder"] = folder_digest(Path(options["encoder"]))
        return alone + across

    def __bool__(self) -> bool:
        return bool(self.alone or self.across)


def build_steps(config: Config) -> Steps:
    """The steps that are on.

    Raises:
        UserError: an option that a step does not have, or a file it cannot use.
    """
    chosen = config.data.steps.chosen
    across = {name: chosen.pop(name) for name in ACROSS if name in chosen}
    if across.get("exact"):
        option, value = next(iter(across["exact"].items()))
        raise UserError(f"data.steps.exact.{option}={value}: it has no options; set data.steps.exact={{}}")
    if "minhash" in across:
        minhash_config(across["minhash"])
    for name in NAMES:
        if name in across:
            encoder = Path(semantic_options(name, across[name]).encoder)
            if not encoder.is_dir():
                raise UserError(f"data.steps.{name}.encoder={encoder}: no such folder; give a sentence encoder's")
    return Steps(tuple(_build(name, options) for name, options in chosen.items()), across)


def _build(name: str, options: Mapping[str, Any]) -> Step:
    factory = _factory(name)
    known = inspect.signature(factory).parameters
    takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values())
    for option, value in options.items():
        if option not in known and not takes_any:
            close = get_close_matches(option, known, n=1, cutoff=0.4)
            advice = f"did you mean {close[0]}?" if close else f"use {', '.join(known)}"
            raise UserError(f"data.steps.{name}.{option}={value}: no such option; {advice}")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and parameter.kind != parameter.VAR_KEYWORD and option not in options:
            raise UserError(f"data.steps.{name}.{option}: not set; the step needs it")
    step: Step = factory(**options)
    return step


def _factory(name: str) -> Callable[..., Step]:
    """Each is imported when it is asked for: some bring large libraries along."""
    from data_prep.steps import c4, decontaminate, facts, heuristics, language, quality, url

    return {
        "url": url.Url,
        "language": language.Language,
        "gopher_repetition": heuristics.GopherRepetition,
        "gopher_quality": heuristics.GopherQuality,
        "c4_quality": heuristics.C4Quality,
        "c4_paragraphs": c4.C4Paragraphs,
        "c4_badwords": c4.C4BadWords,
        "fineweb_quality": heuristics.FineWebQuality,
        "facts": facts.FactPruning,
        "gbm_quality": quality.GbmQuality,
        "encoder_quality": quality.EncoderQuality,
        "decontaminate": decontaminate.Decontaminate,
    }[name]
