"""What a token is scored against: the one that follows it, and what teachers say of that one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from custom_modules.model.cross_entropies import vocab_parallel_cross_entropies
from custom_modules.model.packed_documents import in_one_row


@dataclass(frozen=True)
class Targets:
    """Given to a model in the place of its labels, it has the model return the cross-entropy with each of them.

    It is no tuple: what wraps a model looks into those for tensors, and FSDP makes bf16 of their floats.
    """

    labels: Tensor
    """``[b, s]``, int64."""
    teacher_ids: Tensor
    """``[b, s, T, k]``, integers: the tokens to which each of T teachers gives a probability."""
    teacher_probabilities: Tensor
    """``[b, s, T, k]``, floats, which are made to add up to 1; all 0: the teacher says nothing of this token."""

    def cross_entropies(self, logits: Tensor) -> Tensor:
        """Return ``[b, s, 1 + T]`` in fp32 nats: the labels' and the teachers', differentiable.

        Where a teacher says nothing, the labels' stands for its own.

        Args:
            logits: ``[s, b, v]``, of this tensor-parallel rank's columns; fp32 ones are written over, as megatron-core
                writes over them.
        """
        ids, probabilities = (t.transpose(0, 1) for t in (self.teacher_ids, self.teacher_probabilities))
        own, teachers = vocab_parallel_cross_entropies(logits, self.labels.t().contiguous(), ids, probabilities)
        own, teachers = own.t(), teachers.transpose(0, 1)
        says = says_something(self.teacher_probabilities)
        return torch.cat([own.unsqueeze(-1), torch.where(says, teachers, own.unsqueeze(-1))], dim=-1)


def says_something(teacher_probabilities: Tensor) -> Tensor:
    """Whether each teacher has a distribution, ``[..., T]`` of ``[..., T, k]``: also one that is not a number."""
    return (teacher_probabilities != 0).any(dim=-1)


def targets_of(batch: Mapping[str, Tensor]) -> Tensor | Targets:
    """Return a batch's labels, with its teachers' rows where it has them."""
    if "teacher_ids" not in batch:
        return batch["labels"]
    return Targets(batch["labels"], batch["teacher_ids"], batch["teacher_probabilities"])


def targets_in_one_row(targets: Tensor | Targets) -> Tensor | Targets:
    """Return targets of ``[b, s]`` tokens as such of ``[1, b s]``."""
    if isinstance(targets, Tensor):
        return in_one_row(targets)
    parts = (targets.labels, targets.teacher_ids, targets.teacher_probabilities)
    return Targets(*map(in_one_row, parts))


def in_chunks(targets: Tensor | Targets, size: int) -> Iterator[Tensor | Targets]:
    """Cut targets of ``[b, s]`` tokens into such of ``[1, size]``, sequence position by sequence position."""
    if isinstance(targets, Tensor):
        yield from _rows(targets, size)
        return
    parts = (targets.labels, targets.teacher_ids, targets.teacher_probabilities)
    for chunk in zip(*(_rows(part, size) for part in parts), strict=True):
        yield Targets(*chunk)


def _rows(tensor: Tensor, size: int) -> tuple[Tensor, ...]:
    """``[b, s, ...]`` -> ``[1, size, ...]``."""
    return tensor.transpose(0, 1).reshape(1, -1, *tensor.shape[2:]).split(size, dim=1)
