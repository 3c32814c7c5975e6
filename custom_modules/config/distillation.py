"""``distillation``: which batches are distilled from teachers, and by what rule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from custom_modules.config.marks import MayChange
from custom_modules.config.sections import Int, PositiveInt, Section, WithoutNull


def _none_for_null(value: object) -> object:
    return {} if value is None else value


class TeacherConfig(Section):
    """What a run takes of one teacher."""

    targets: Literal["top_k", "text"] = "top_k"
    """Its distribution over the tokens of each text, or texts of its own beside each."""
    parameters: Annotated[PositiveInt | None, MayChange()] = None
    """How many it has, for the hours that `danube plan` says it takes; null: they are said per 10^9."""


class DistillationConfig(Section):
    every_n_batches: Annotated[Int, Field(ge=2)] | None = 4
    """Each so many-th step of a stage reads the part of the data that is distilled, and only it; null: no part is."""
    teachers: Annotated[dict[str, TeacherConfig], WithoutNull, BeforeValidator(_none_for_null)] = Field(default={})
    """By name; without one both parts are trained on as one."""
    top_k: Annotated[Int, Field(gt=0, le=1024)] = 16
    """A teacher's tokens at each position, of the highest probability."""
    minimum_over: Literal["sequence", "token"] = "sequence"
    """What the smallest of the cross-entropies is taken over."""
    prefix_tokens: PositiveInt = 128
    """The first tokens of a document, which a teacher's text continues."""
    tries: Annotated[Int, Field(ge=0), MayChange()] = 3
    """How often a teacher's text that has text of a benchmark is generated again before it is dropped."""

    @property
    def distributions(self) -> tuple[str, ...]:
        """The teachers whose distributions are read, in the order their targets have in a batch."""
        return tuple(name for name, teacher in self.teachers.items() if teacher.targets == "top_k")

    @property
    def texts(self) -> tuple[str, ...]:
        """The teachers whose texts are read, in the order their alternatives have in a batch."""
        return tuple(name for name, teacher in self.teachers.items() if teacher.targets == "text")
