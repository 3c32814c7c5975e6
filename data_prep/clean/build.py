"""The steps that the names and options of ``data.steps`` stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from custom_modules.data_steps.read import check_names, read_options
from custom_modules.data_steps.step import DataStep
from custom_modules.data_steps.table import DATA_STEPS
from custom_modules.errors import UserError
from data_prep.across.corpus_step import CorpusStep
from data_prep.across.exact import ExactCopies
from data_prep.across.meaning import Prototypes, SemDedup
from data_prep.across.minhash import NearCopies
from data_prep.input.documents import ScoringStep, Step
from data_prep.steps.c4 import C4BadWords, C4Paragraphs
from data_prep.steps.decontaminate import Decontaminate
from data_prep.steps.facts import FactPruning
from data_prep.steps.heuristics import C4Quality, FineWebQuality, GopherQuality, GopherRepetition
from data_prep.steps.language import Language
from data_prep.steps.quality import EncoderQuality, GbmQuality
from data_prep.steps.url import Url

STEPS: dict[str, Callable[..., Any]] = {
    "url": Url,
    "language": Language,
    "gopher_repetition": GopherRepetition,
    "gopher_quality": GopherQuality,
    "c4_quality": C4Quality,
    "c4_paragraphs": C4Paragraphs,
    "c4_badwords": C4BadWords,
    "fineweb_quality": FineWebQuality,
    "gbm_quality": GbmQuality,
    "encoder_quality": EncoderQuality,
    "facts": FactPruning,
    "decontaminate": Decontaminate,
    "exact": ExactCopies,
    "minhash": NearCopies,
    "semdedup": SemDedup,
    "prototypes": Prototypes,
}
"""The code of each of `custom_modules.data_steps.table.DATA_STEPS`, which has their order: a `Step`, or a `CorpusStep`
where it looks at the corpus."""


@dataclass(frozen=True)
class Steps:
    """What documents go through."""

    alone: tuple[Step, ...]
    """Steps that look at one document at a time, in their order."""
    across: tuple[CorpusStep, ...]
    """Steps that compare documents, in their order; they run behind all others."""

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of those that score what they keep."""
        return tuple(step.name for step in self.alone if isinstance(step, ScoringStep))

    @property
    def identity(self) -> list[tuple[str, dict[str, Any]]]:
        """What defines the outcome, the contents of files that steps read included."""
        every: list[Step | CorpusStep] = [*self.alone, *self.across]
        return [(step.name, dict(step.options)) for step in every]

    def __bool__(self) -> bool:
        return bool(self.alone or self.across)


def build_steps(chosen: Mapping[str, Mapping[str, Any]]) -> Steps:
    """Make the steps that are on.

    Args:
        chosen: their options by name.

    Raises:
        UserError: an option that a step does not have or needs, a value that it cannot have, or a file it cannot use.
    """
    steps = [step for step in DATA_STEPS if step.name in chosen]
    for step in steps:
        check_names(step, chosen[step.name])
    _ask_for_what_users_have(steps, chosen)
    told = [(step, read_options(step, chosen[step.name])) for step in steps]
    built = [(step.looks_at, STEPS[step.name](**vars(options))) for step, options in told]
    return Steps(
        tuple(step for looks_at, step in built if looks_at == "document"),
        tuple(step for looks_at, step in built if looks_at == "corpus"),
    )


def _ask_for_what_users_have(steps: Sequence[DataStep], chosen: Mapping[str, Mapping[str, Any]]) -> None:
    """Ask at once for all that somebody has to make or bring for the steps that are on."""
    asked: dict[str, list[str]] = {}
    without: list[str] = []
    for step in steps:
        for option in step.lacking(chosen[step.name]):
            if option.made_by or option.yours:
                how = f"make it with `{option.made_by}`" if option.made_by else f"bring {option.yours}"
                asked.setdefault(how, []).append(f"data.steps.{step.name}.{option.name}")
                without.append(f"data.steps.{step.name}=null")
    if asked:
        lines = "; ".join(f"{', '.join(keys)}: not set; {how}" for how, keys in asked.items())
        raise UserError(f"{lines}; or leave {'the steps' if len(without) > 1 else 'the step'} out: {' '.join(without)}")
