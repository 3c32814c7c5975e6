"""Bytes per token that teachers' targets take of a device in a distilled step.

They are those of `custom_modules.model.targets` and `custom_modules.training.alternatives`, which tests measure.
"""

from __future__ import annotations

from custom_modules.config.schema import TrainingConfig

FP32 = INT32 = 4
INT64 = 8
TEXT = 2 * INT64 + FP32
"""Tokens, labels and mask."""


def rows(config: TrainingConfig) -> int:
    """Return what ids and probabilities take in a batch."""
    return (INT32 + FP32) * _ids(config)


def in_loss(config: TrainingConfig) -> int:
    """Return what is made of them for the loss: columns of the logits, probabilities in proportion, and the logits
    there, which the backward pass has gradients in the place of; and the targets' losses."""
    distillation = config.teaching
    if not _ids(config) or distillation is None:
        return 0
    return (INT64 + 2 * FP32) * _ids(config) + 4 * FP32 * (1 + len(distillation.distributions))


def texts(config: TrainingConfig) -> int:
    """Return what a step keeps of each token of all its micro-batches where teachers have texts: the documents with
    their rows, the alternatives, and the best of each."""
    distillation = config.teaching
    if distillation is None or not distillation.texts:
        return 0
    return rows(config) + INT64 + (len(distillation.texts) + 2) * TEXT


def _ids(config: TrainingConfig) -> int:
    distillation = config.teaching
    return len(distillation.distributions) * distillation.top_k if distillation else 0
