"""ALiBi by its definition, in float64 with a bias of s x s, and what processes do that attend with it together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from megatron.core import parallel_state
from megatron.core.transformer.enums import AttnMaskType
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.model.build import core_attention
from custom_modules.model.transformer_config import transformer_config
from custom_modules.platform import Platform
from custom_modules.platform.kernels import LOCAL
from custom_modules.platform.world import World
from tests.support.context_parallel import mine
from tests.support.tiny import TINY

LOKI = [*TINY, "model.architecture=lokilm", "model.sliding_window=null"]
TOLERANCES = {"32-true": (1e-6, 1e-6), "bf16-mixed": (2.5e-3, 4e-3)}
"""Relative root mean squares of the difference, by precision: of outputs and of gradients."""


def by_definition(query: Tensor, key: Tensor, value: Tensor, slopes: Sequence[float]) -> Tensor:
    """``softmax(q.k / sqrt(d) - slope (i - j))`` over ``j <= i``, in float64.

    Args:
        query: ``[s, b, heads, d]``.
        key, value: ``[s, b, groups, d]``.
        slopes: of the heads.
    """
    query, key, value = (tensor.double().permute(1, 2, 0, 3) for tensor in (query, key, value))
    key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
    place = torch.arange(query.shape[2])
    distance = place[:, None] - place
    scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
    scores = scores - torch.tensor(slopes, dtype=torch.float64)[:, None, None] * distance
    attended = scores.masked_fill(distance < 0, -torch.inf).softmax(-1) @ value
    return attended.permute(2, 0, 1, 3).flatten(2)


def draw(length: int, heads: int, groups: int, dim: int, dtype: torch.dtype, batch: int = 2) -> list[Tensor]:
    """Query, key, value, and what the output's gradient is taken to be."""
    generator = torch.Generator().manual_seed(length)
    drawn = [torch.randn(length, batch, count, dim, generator=generator) for count in (heads, groups, groups)]
    return [tensor.to(dtype) for tensor in (*drawn, torch.randn(length, batch, heads * dim, generator=generator))]


def off(found: Tensor, expected: Tensor) -> float:
    """The root mean square of a difference, over that of what is expected, where that is anything.

    Of a single token the gradients of query and key are rounding alone.
    """
    difference = (found.double() - expected.double()).square().mean().sqrt().item()
    size = expected.double().square().mean().sqrt().item()
    return difference / size if size > 1e-12 else difference


def build(config: Config) -> torch.nn.Module:
    """The core attention that a layer of the model has."""
    transformer = transformer_config(config)
    kind = core_attention(transformer, LOCAL, config.model.position_embedding_type == "alibi")
    return kind(transformer, 1, AttnMaskType.causal, "self")


def attend(rank: int, size: int, work: list[tuple[int, list[str]]]) -> None:
    """Compare a rank's outputs and gradients with its part of those of all heads and of the whole sequence.

    Args:
        work: a port and the overrides of a config, one after the other.
    """
    for port, overrides in work:
        config = load_config("danube_rehearsal", [*LOKI, *shape(4, 2), f"trainer.devices={size}", *overrides])
        with Platform.detect(config, World(rank, size, rank, "127.0.0.1", port, "torchrun")).running(config):
            for length in (8, 548):
                compare(config, length, slack=1.5)


def shape(heads: int, groups: int, dim: int = 64) -> list[str]:
    """Overrides for heads of so many features."""
    return [f"model.num_attention_heads={heads}", f"model.num_query_groups={groups}", f"model.kv_channels={dim}"]


def compare(config: Config, length: int, batch: int = 2, slack: float = 1) -> None:
    """Compare this rank's part with the definition, by `TOLERANCES`.

    Args:
        slack: what these are multiplied with: ranks that share tokens or heads have few numbers, and add them up.
    """
    model, precision = config.model, config.trainer.precision
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    heads = [2.0 ** (-8 * (head + 1) / model.num_attention_heads) for head in range(model.num_attention_heads)]
    *drawn, upstream = draw(length, model.num_attention_heads, model.num_query_groups, model.head_dim, dtype, batch)
    whole = [tensor.double().requires_grad_() for tensor in drawn]
    query, key, value = whole
    expected = by_definition(query, key, value, heads)
    expected.backward(upstream.double())
    parts = [part(tensor).requires_grad_() for tensor in drawn]
    found = build(config)(*parts)
    found.backward(part(upstream.unflatten(-1, (len(heads), -1))).flatten(2))
    outputs, gradients = (slack * tolerance for tolerance in TOLERANCES[precision])
    assert found.dtype == dtype
    assert off(found, part(expected.detach().unflatten(-1, (len(heads), -1))).flatten(2)) < outputs
    for one, other in zip(parts, whole, strict=True):
        assert one.grad is not None and other.grad is not None
        assert off(one.grad, part(other.grad)) < gradients


def part(tensor: Tensor) -> Tensor:
    """``[s, b, heads, d]`` -> this rank's tokens, as megatron-core deals them out, and its heads."""
    heads = tensor.chunk(parallel_state.get_tensor_model_parallel_world_size(), dim=2)
    here = heads[parallel_state.get_tensor_model_parallel_rank()]
    if parallel_state.get_context_parallel_world_size() == 1:
        return here.clone()
    return mine(here.transpose(0, 1)).transpose(0, 1).clone()
