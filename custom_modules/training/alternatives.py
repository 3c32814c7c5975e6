"""Batches with teachers' texts: each text is scored without gradient, and a sequence is trained on its best alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from custom_modules.data.batches import Batch
from custom_modules.objective.minimum import CHOSEN, GROUND_TRUTH, over_context, smallest

OF_A_TEXT = {"tokens": "alternative_tokens", "labels": "alternative_labels", "loss_mask": "alternative_mask"}
"""A field of a batch -> that of its alternatives, ``[b, A, s]``."""


def has_texts(batch: Batch) -> bool:
    return "alternative_tokens" in batch


def texts_of(batch: Batch) -> list[Batch]:
    """Return a batch of the ground truth, with its teachers' rows, and one of each of the A alternatives."""
    ground_truth = {name: tensor for name, tensor in batch.items() if name not in OF_A_TEXT.values()}
    alternatives = (batch[name].unbind(dim=1) for name in OF_A_TEXT.values())
    return [
        ground_truth,
        *(
            {**dict(zip(OF_A_TEXT, text, strict=True)), "position_ids": batch["position_ids"]}
            for text in zip(*alternatives, strict=True)
        ),
    ]


def best_of(texts: Sequence[Batch], chosen: Tensor, ground_truth: Tensor) -> Batch:
    """Return the batch of each sequence's best text, which says what was chosen and what the ground truth scores.

    Args:
        texts: as `texts_of` has them, or this context-parallel rank's tokens of them.
        chosen: number of each sequence's target, int64 ``[b]``: the last ones are the alternatives.
        ground_truth: ``[b, 2]``.
    """
    distributions = texts[0]["teacher_ids"].shape[2] if "teacher_ids" in texts[0] else 0
    number = (chosen - distributions).clamp(min=0)
    sequences = torch.arange(len(number), device=number.device)
    best = {name: torch.stack([text[name] for text in texts])[number, sequences] for name in OF_A_TEXT}
    return {**texts[0], **best, CHOSEN: chosen, GROUND_TRUTH: ground_truth}


def best_texts(
    batches: Iterable[Batch],
    here: Callable[[Batch], Batch],
    score: Callable[[Sequence[Batch]], Sequence[Tensor]],
    tell: Callable[[Tensor], Tensor],
    targets: int,
) -> list[Batch]:
    """Return a step's batches, of those with texts the best. Collective.

    Args:
        batches: all of the step.
        here: returns this rank's part of a batch, on its device.
        score: scores batches, as `MinimumOverTargets.score` does, but for none of them where another pipeline stage
            does.
        tell: returns on every pipeline stage what the last one has.
        targets: how many there are.
    """
    read = list(batches)
    if not has_texts(read[0]):
        return list(map(here, read))
    texts = [list(map(here, texts_of(batch))) for batch in read]
    found = list(score([text for each in texts for text in each]))
    device, of_each = texts[0][0]["tokens"].device, len(texts[0])
    scores = torch.zeros(len(texts), targets, len(texts[0][0]["tokens"]), 3, device=device)
    for place, number in enumerate(range(0, len(found), of_each)):
        scores[place] = torch.cat(found[number : number + of_each])
    ground_truth = scores[:, 0, :, :2].clone()
    over_context(scores)
    chosen = tell(torch.stack(list(map(smallest, scores))))
    return list(map(best_of, texts, chosen, ground_truth))
