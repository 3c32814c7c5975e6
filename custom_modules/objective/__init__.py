"""What a run is trained to do: the loss of a micro-batch as a sum, and the count that the sum is over.

The engine adds both up over all micro-batches and ranks of a step and divides once, so a mean is exact however the
batch is split, also where an objective leaves tokens out.

A new objective is a file here and a line in `OBJECTIVES`. These modules import torch inside functions or for types
only: the names are looked up before torch is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.errors import UserError
from custom_modules.objective.answers import Answers
from custom_modules.objective.minimum import MinimumOverTargets
from custom_modules.objective.next_token import NextToken

if TYPE_CHECKING:
    from torch import Tensor


class Objective(Protocol):
    """A loss that is a sum over tokens, or over whatever else it counts."""

    from_logits: bool
    """What the model is asked for. False: the cross-entropy of each token with the batch's labels, ``[b, s]`` in fp32
    nats, which `custom_modules.model.chunked_loss` can compute without ever having all logits. True: the logits, ``[b,
    s, v]``, where v is this tensor-parallel rank's rows of the padded vocabulary."""

    def __call__(
        self, output: Tensor, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | int] | tuple[Tensor, Tensor | int, Tensor]:
        """Compute the loss of a micro-batch; on the last pipeline stage only.

        Args:
            output: what the model was asked for, of this context-parallel rank's tokens.
            batch: all that the loader gave, cut to the same tokens, on the device: ``tokens``, ``labels`` and
                ``position_ids``, ``[b, s]``, and what else an objective's data has (a mask, a teacher's targets).

        Returns:
            The sum, differentiable, in fp32; and how many tokens are in it, a number or an integer tensor of no
            dimensions, the same on all tensor-parallel ranks. Behind them, where something else is logged, what that
            is: see `custom_modules.objective.logged`.
        """
        ...


ANSWERS = "answers"

OBJECTIVES: dict[str, Callable[[TrainingConfig], Objective]] = {
    "next_token": NextToken,
    ANSWERS: Answers,
}
"""``objective`` -> what makes it of a config: a teacher's folder, say, is read there."""


def check_objective(config: TrainingConfig) -> None:
    """Refuse a name that is not in the table, and teachers that the objective has no use for.

    Raises:
        UserError: naming those that are in it, or the key to change.
    """
    if config.objective not in OBJECTIVES:
        raise UserError(f"objective={config.objective}: no such objective; there are {', '.join(OBJECTIVES)}")
    if config.objective == ANSWERS and isinstance(config, Config):
        raise UserError("objective=answers: a text has no answers; set objective=next_token, or use `danube sft`")
    distillation = config.teaching
    if distillation is None or not distillation.teachers:
        return
    if config.objective != "next_token":
        raise UserError(
            f"objective={config.objective}: distillation.teachers are targets beside those of objective=next_token "
            "alone; set that, or distillation.teachers={}"
        )
    if distillation.texts and distillation.minimum_over == "token":
        raise UserError(
            "distillation.minimum_over=token: a text of a teacher has no tokens in common with the document "
            f"(distillation.teachers.{distillation.texts[0]}.targets=text); set distillation.minimum_over=sequence"
        )


def build_objective(config: TrainingConfig) -> Objective:
    """Make the objective of a run.

    Raises:
        UserError: there is none of that name, or the config asks for what it cannot have.
    """
    check_objective(config)
    objective = OBJECTIVES[config.objective](config)
    if isinstance(objective, NextToken) and config.teaching and config.teaching.teachers:
        objective = MinimumOverTargets(objective, config.teaching)
    chunk_size = config.model.cross_entropy_chunk_size
    if objective.from_logits and chunk_size is not None:
        raise UserError(
            f"model.cross_entropy_chunk_size={chunk_size}: objective={config.objective} needs all logits at once; set "
            "model.cross_entropy_chunk_size=null"
        )
    return objective
