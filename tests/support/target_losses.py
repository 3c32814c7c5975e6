"""The losses with teachers' targets on any device: their errors, and what they take beside the plain loss."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.platform import Platform
from custom_modules.platform.megatron import import_megatron
from tests.support.tiny import TINY

TEACHERS, TOP_K = 3, 16
ROUNDS = 5


@dataclass(frozen=True)
class Losses:
    """What one set of logits has, forward and backward."""

    loss_error: float
    """The largest difference from fp64, over the largest loss."""
    gradient_error: float
    """Likewise, of the logits' gradient."""
    seconds: float
    plain_seconds: float

    def __str__(self) -> str:
        times = f"{self.seconds * 1e3:,.2f} ms beside {self.plain_seconds * 1e3:,.2f} ms of the plain loss"
        return f"{times}; errors {self.loss_error:.1e} and, of gradients, {self.gradient_error:.1e}"


def measure_losses(accelerator: str, tokens: int, vocab_size: int, dtype: torch.dtype) -> Losses:
    """Measure them on one device, against whole distributions in fp64.

    Args:
        accelerator: the override of ``trainer.accelerator``.
    """
    import_megatron()
    from custom_modules.model.targets import Targets
    from tests.support.distilled_batches import dense_losses

    config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1", accelerator])
    platform = Platform.detect(config)
    with platform.running(config):
        from megatron.core.tensor_parallel import vocab_parallel_cross_entropy

        generator = torch.Generator().manual_seed(3)
        rows = (1, tokens, TEACHERS, TOP_K)
        batch = {
            "labels": torch.randint(0, vocab_size, (1, tokens), generator=generator),
            "teacher_ids": torch.randint(0, vocab_size, rows, generator=generator, dtype=torch.int32),
            "teacher_probabilities": torch.rand(rows, generator=generator) / TOP_K,
        }
        batch = {name: tensor.to(platform.device) for name, tensor in batch.items()}
        logits = 3 * torch.randn(tokens, 1, vocab_size, generator=generator)
        logits = logits.to(platform.device, dtype)
        targets, labels = Targets(**batch), batch["labels"].t().contiguous()

        def with_targets(leaf: Tensor) -> Tensor:
            return targets.cross_entropies(leaf)

        def plain(leaf: Tensor) -> Tensor:
            losses: Tensor = vocab_parallel_cross_entropy(leaf, labels)
            return losses

        losses, gradient = _passed(with_targets, logits)
        whole = logits.double().requires_grad_()
        expected = dense_losses(whole.transpose(0, 1), batch)
        expected.sum().backward()
        assert whole.grad is not None
        return Losses(
            ((losses - expected).abs().max() / expected.abs().max()).item(),
            ((gradient - whole.grad).abs().max() / whole.grad.abs().max()).item(),
            *(_fastest(platform, losses_of, logits) for losses_of in (with_targets, plain)),
        )


def _passed(losses_of: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    # What is passed on is written over.
    losses = losses_of(leaf.clone())
    losses.sum().backward()
    assert leaf.grad is not None
    return losses.detach(), leaf.grad


def _fastest(platform: Platform, losses_of: Callable[[Tensor], Tensor], logits: Tensor) -> float:
    seconds = []
    for _ in range(ROUNDS):
        platform.synchronize()
        begun = time.perf_counter()
        _passed(losses_of, logits)
        platform.synchronize()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
