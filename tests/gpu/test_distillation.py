"""The losses with teachers' targets on a GPU: what they are, and what they take beside the plain loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.support.gpu import Machine
from tests.support.target_losses import TEACHERS, TOP_K, measure_losses


@pytest.mark.values
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_losses_with_targets(
    machine: Machine, dtype: torch.dtype, allowed: float, print_figure: Callable[[str], None]
) -> None:
    """A gradient in bf16 is rounded where it meets the logits."""
    tokens, vocab_size = (machine.batch // 2, 32_000) if machine.gpus else (64, 512)
    found = measure_losses(machine.here, tokens, vocab_size, dtype)
    print_figure(f"{dtype}, {tokens:,} tokens, top {TOP_K} of {TEACHERS} teachers: {found}")
    assert found.loss_error <= 1e-6
    assert found.gradient_error <= allowed
