"""The core attention against the plain formula, and its memory."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from custom_modules.model.windowed_attention import windowed_attention


def plain_attention(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> Tensor:
    """Softmax over an explicit mask, one group of keys per ``heads / groups`` queries."""
    length, repeats = query.shape[2], query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    for row in range(length):
        for column in range(length):
            if column > row or (window is not None and row - column >= window):
                scores[..., row, column] = -math.inf
    return scores.softmax(-1) @ value


def draw(length: int, heads: int, groups: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    shapes = [(2, heads, length, 4), (2, groups, length, 4), (2, groups, length, 4)]
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


@settings(deadline=None, max_examples=40)
@given(
    length=st.integers(1, 40), window=st.none() | st.integers(1, 45), group=st.sampled_from([(4, 4), (4, 2), (4, 1)])
)
def test_equals_the_formula(length: int, window: int | None, group: tuple[int, int]) -> None:
    query, key, value = draw(length, *group)
    found = windowed_attention(query, key, value, window)
    torch.testing.assert_close(found, plain_attention(query, key, value, window))


@pytest.mark.parametrize("length", [1, 63, 64, 130, 200])
@pytest.mark.parametrize("window", [None, 1, 64, 65, 130, 300])
@pytest.mark.slow
def test_the_last_queries_of_a_sequence(length: int, window: int | None) -> None:
    query, key, value = draw(200, 4, 2)
    expected = plain_attention(query, key, value, window)[:, :, -length:]
    torch.testing.assert_close(windowed_attention(query[:, :, -length:], key, value, window), expected)


@pytest.mark.parametrize("length", [63, 64, 65, 128, 129, 200, 300])
@pytest.mark.parametrize("window", [1, 2, 64, 128, 130])
def test_values_and_gradients_over_several_blocks(length: int, window: int) -> None:
    tensors = query, key, value = draw(length, 4, 2)
    distance = torch.arange(length)[:, None] - torch.arange(length)
    mask = (distance >= 0) & (distance < window)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    found = windowed_attention(query, key, value, window)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, tensors, upstream), torch.autograd.grad(expected, tensors, upstream), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_a_token_sees_exactly_window_tokens() -> None:
    query, key, _ = draw(200, 2, 2)
    positions = torch.eye(200, dtype=torch.float64).expand(2, 2, 200, 200)
    weights = windowed_attention(query, key, positions, 70)
    assert ((weights > 0).sum(-1) == torch.arange(1, 201).clamp(max=70)).all()


class Largest(TorchDispatchMode):
    """The most elements that any tensor had while it was open."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_no_tensor_grows_with_the_square_of_the_length() -> None:
    """Forward and backward, at a length 32 times the window: linear in the length, with a mask of a block."""
    length, window = 4096, 128
    tensors = [tensor.squeeze() for tensor in draw(length, 1, 1, torch.float32)]
    query, key, value = (tensor.reshape(2, 1, length, 4) for tensor in tensors)
    with Largest() as largest:
        windowed_attention(query, key, value, window).sum().backward()
    assert largest.elements <= max(2 * 4 * length, window // 2 * (3 * window // 2))
