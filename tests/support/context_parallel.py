"""What each of several processes does that attend to one sequence together."""

from __future__ import annotations

import torch
from megatron.core.transformer.enums import AttnMaskType

from custom_modules.config.load import load_config
from custom_modules.model.context_parallel import ContextParallelAttention
from custom_modules.model.transformer_config import transformer_config
from custom_modules.model.windowed_attention import windowed_attention
from custom_modules.platform import Platform
from custom_modules.platform.megatron_versions import batch_on_this_cp_rank
from custom_modules.platform.world import World
from tests.support.tiny import TINY

HEADS, GROUPS, DIM = 4, 2, 8


def attend(rank: int, size: int, port: int) -> None:
    """Compare a rank's outputs and gradients with its parts of those of the whole sequence, in float64."""
    overrides = [f"trainer.devices={size}", f"model.context_parallel_size={size}", "model.sliding_window=48"]
    config = load_config("danube_rehearsal", [*TINY, *overrides])
    with Platform.detect(config, World(rank, size, rank, "127.0.0.1", port, "torchrun")).running(config):
        attention = ContextParallelAttention(transformer_config(config), 1, AttnMaskType.causal, "self")
        for length in (8, 40, 48, 56, 96, 200, 320):
            compare(attention, length)
        attention.window = None
        compare(attention, 96)


def compare(attention: ContextParallelAttention, length: int) -> None:
    generator = torch.Generator().manual_seed(length)

    def draw(heads: int) -> torch.Tensor:
        return torch.randn(2, length, heads, DIM, generator=generator, dtype=torch.float64)

    drawn = [draw(HEADS), draw(GROUPS), draw(GROUPS)]
    whole = [tensor.clone().requires_grad_() for tensor in drawn]
    parts = [mine(tensor).requires_grad_() for tensor in drawn]
    upstream = draw(HEADS)
    query, key, value = (tensor.transpose(1, 2) for tensor in whole)
    expected = windowed_attention(query, key, value, attention.window).transpose(1, 2)
    expected.backward(upstream)
    found = attention(*(tensor.transpose(0, 1) for tensor in parts)).unflatten(-1, (HEADS, DIM)).transpose(0, 1)
    found.backward(mine(upstream))
    torch.testing.assert_close(found, mine(expected.detach()))
    for part, tensor in zip(parts, whole, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(part.grad, mine(tensor.grad))


def mine(tensor: torch.Tensor) -> torch.Tensor:
    """``[b, s, ...]`` -> this rank's part, as megatron-core deals it out."""
    return batch_on_this_cp_rank({"part": tensor.clone()})["part"]
