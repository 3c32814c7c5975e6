"""What a module keeps for a recipe in one direction, and what its tensors become by it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_engine.common.recipe import DelayedScaling, Float8BlockScaling, Recipe
from transformer_engine.pytorch.scaling import (
    BLOCK,
    fp8_dtype,
    largest_value,
    rounded,
    rounded_by_blocks,
    rounded_by_tensor,
)

INPUT, WEIGHT = 0, 1
"""Places among a product's three tensors of the forward pass."""
GRAD_OUTPUT = 0
"""Place among a product's two tensors of the backward pass."""


class RecipeState(ABC):
    """The base of all.

    Args:
        tensors: how many the module has in this direction.
    """

    def __init__(self, recipe: Recipe, backward: bool, tensors: int) -> None:
        self.recipe = recipe
        self.dtype = fp8_dtype(recipe, backward)

    @abstractmethod
    def matrix(self, tensor: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Return ``[m, n]`` as a product along its rows sees it, and one along its columns."""

    def weight(self, tensor: Tensor) -> Tensor:
        """Return a weight, which both products see alike."""
        return self.matrix(tensor, WEIGHT)[0]


class DelayedScalingState(RecipeState):
    """A scale for each tensor, which follows from the largest values of passes before; 1 before the first."""

    def __init__(self, recipe: DelayedScaling, backward: bool, tensors: int) -> None:
        super().__init__(recipe, backward, tensors)
        self.recipe: DelayedScaling = recipe
        self.scale = torch.ones(tensors)
        self.amax_history = torch.zeros(recipe.amax_history_len, tensors)
        """fp32 ``[passes, tensors]``: in the first row what this pass has met so far."""

    def matrix(self, tensor: Tensor, place: int) -> tuple[Tensor, Tensor]:
        largest = tensor.abs().amax().float()
        self.amax_history[0, place] = torch.maximum(self.amax_history[0, place], largest)
        values = rounded(tensor, self.scale[place], self.dtype)
        return values, values

    def update(self) -> None:
        """Make scales of the history, of which the first row is complete, and begin a new row."""
        history, recipe = self.amax_history, self.recipe
        largest = history.amax(dim=0) if recipe.amax_compute_algo == "max" else history[0].clone()
        wanted = largest_value(self.dtype) / largest / 2**recipe.margin
        usable = (largest > 0) & largest.isfinite()
        self.scale.copy_(torch.where(usable, wanted.clamp(max=torch.finfo(torch.float32).max), self.scale))
        history.copy_(history.roll(-1, dims=0))
        history[0] = 0

    def load(self, scale: Tensor, amax_history: Tensor) -> None:
        """Have these values, in the tensors that are there."""
        self.scale.copy_(scale)
        self.amax_history.copy_(amax_history)

    def resize(self, length: int) -> None:
        """Keep so many rows of the history."""
        self.amax_history = F.pad(self.amax_history[:length], (0, 0, 0, max(0, length - len(self.amax_history))))


class CurrentScalingState(RecipeState):
    """A scale for each tensor, from itself. There is nothing to keep."""

    def matrix(self, tensor: Tensor, place: int) -> tuple[Tensor, Tensor]:
        values = rounded_by_tensor(tensor, self.dtype)
        return values, values


class BlockScalingState(RecipeState):
    """A scale for each block, from itself: of 1 x 128 along a product's rows, 128 x 1 along its columns, 128 x 128 of a
    weight."""

    def matrix(self, tensor: Tensor, place: int) -> tuple[Tensor, Tensor]:
        return rounded_by_blocks(tensor, self.dtype, 1, BLOCK), rounded_by_blocks(tensor, self.dtype, BLOCK, 1)

    def weight(self, tensor: Tensor) -> Tensor:
        return rounded_by_blocks(tensor, self.dtype, BLOCK, BLOCK)


def make_state(recipe: Recipe, backward: bool, tensors: int) -> RecipeState:
    """Return a new state for a recipe."""
    if isinstance(recipe, DelayedScaling):
        return DelayedScalingState(recipe, backward, tensors)
    kind = BlockScalingState if isinstance(recipe, Float8BlockScaling) else CurrentScalingState
    return kind(recipe, backward, tensors)
