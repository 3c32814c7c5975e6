"""What megatron-core's schedules call for a micro-batch: a forward pass, and what is made of its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from custom_modules.data.batches import Batch
from custom_modules.model.packed_documents import in_one_row, packed_documents
from custom_modules.model.targets import targets_in_one_row, targets_of
from custom_modules.objective import Objective
from custom_modules.objective.minimum import MinimumOverTargets

Outcome = tuple[Tensor, Tensor, Tensor]
"""What megatron-core's schedules take: a loss to go back from, the tokens that its gradients are divided by, once they
are added up over micro-batches and ranks, and what they return."""


def forward_step(
    batches: Iterator[Batch], model: Any, from_logits: bool, outcome: Callable[..., Outcome], fused: bool
) -> tuple[Tensor, Callable[..., Outcome]]:
    """Pass the next micro-batch forward through one of a rank's chunks.

    Documents that don't see each other pass through it as one row.

    Args:
        batches: this rank's part of each, on its device.
        from_logits: what is asked of the model, as `Objective` has it.
        outcome: takes the last chunk's output, and the batch by name.
        fused: Transformer Engine's layers compute.
    """
    batch = next(batches)
    tokens, targets = batch["tokens"], None if from_logits else targets_of(batch)
    documents = packed_documents(batch, fused)
    if documents is None:
        return model(tokens, batch["position_ids"], None, labels=targets), partial(outcome, batch=batch)
    output = model(
        in_one_row(tokens),
        in_one_row(batch["position_ids"]),
        None,
        labels=None if targets is None else targets_in_one_row(targets),
        packed_seq_params=documents,
    )
    return output, lambda of_last: outcome(of_last.squeeze(0).unflatten(0, tokens.shape), batch=batch)


def train_outcome(objective: Objective, output: Tensor, batch: Batch) -> Outcome:
    """Compute a loss, and what `Engine.forward_backward` returns."""
    loss, tokens, *logged = objective(output, batch)
    count = tokens.to(torch.int32) if isinstance(tokens, Tensor) else _filled(output, tokens)
    return loss, count, logged[0] if logged else torch.stack([loss.detach().float(), count.float()])


def score_outcome(objective: MinimumOverTargets, output: Tensor, batch: Batch) -> Outcome:
    """Score the targets of a micro-batch that is not trained on."""
    return output.sum(), _filled(output, output.numel()), objective.score(output, batch)


def _filled(like: Tensor, number: int) -> Tensor:
    """Return an int32 of no dimensions on a device, without a copy that the host would wait for."""
    return torch.full((), number, dtype=torch.int32, device=like.device)
