"""Transformer Engine's layers alone: the calls that a training step makes of them, made again with nothing between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch.utils._pytree import tree_leaves, tree_map

TRANSFORMER_ENGINE = "transformer_engine.pytorch."


@dataclass(frozen=True)
class Call:
    """One of a layer's forward."""

    layer: torch.nn.Module
    forward: Callable[..., Any]
    arguments: tuple[Any, ...]
    """Tensors are on the meta device."""
    options: dict[str, Any]


def calls_of_a_pass(model: torch.nn.Module, step: Callable[[], None], passes: int) -> list[Call]:
    """Note the calls of a step's second pass: in the first one the weights are cast to FP8 too."""
    noted: list[Call] = []
    depth = 0

    def noting(forward: Callable[..., Any]) -> Callable[..., Any]:
        def note(layer: torch.nn.Module, *arguments: Any, **options: Any) -> Any:
            nonlocal depth
            if not depth:
                noted.append(Call(layer, forward, *tree_map(_without_content, (arguments, options))))
            depth += 1
            try:
                return forward(layer, *arguments, **options)
            finally:
                depth -= 1

        return note

    with ExitStack() as stack:
        for owner in {owner for layer in model.modules() if (owner := _class_of_transformer_engine(layer))}:
            stack.enter_context(mock.patch.object(owner, "forward", noting(owner.forward)))
        step()
    each = len(noted) // passes
    return noted[each : 2 * each]


class Layers:
    """Makes calls again, forward and back, with tensors that it keeps."""

    def __init__(self, calls: list[Call], device: torch.device) -> None:
        self._calls, self._device = calls, device
        self._kept: dict[tuple[Any, ...], torch.Tensor] = {}

    def pass_once(self) -> None:
        for call in self._calls:
            arguments, options = tree_map(self._with_content, (call.arguments, call.options))
            returned = tree_leaves(call.forward(call.layer, *arguments, **options))
            outputs = [value for value in returned if isinstance(value, torch.Tensor) and value.requires_grad]
            torch.autograd.backward(outputs, [self._tensor(output) for output in outputs])

    def _with_content(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return self._tensor(value).detach().requires_grad_(value.requires_grad)

    def _tensor(self, like: torch.Tensor) -> torch.Tensor:
        key = (like.shape, like.stride(), like.dtype)
        if key not in self._kept:
            self._kept[key] = torch.empty_like(like, device=self._device, requires_grad=False)
        return self._kept[key]


def _without_content(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_like(value, device="meta").requires_grad_(value.requires_grad)


def _class_of_transformer_engine(layer: torch.nn.Module) -> type[Any] | None:
    """Return the first of a layer's classes that is Transformer Engine's; megatron-core's are made of them."""
    return next((owner for owner in type(layer).__mro__ if owner.__module__.startswith(TRANSFORMER_ENGINE)), None)
