"""What all modules have in common: the state of FP8, the FP8 copies of weights, and what a checkpoint has of it."""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from transformer_engine.common.recipe import Recipe
from transformer_engine.pytorch.quantization import BACKWARD, FORWARD, FP8GlobalStateManager
from transformer_engine.pytorch.recipe_state import DelayedScalingState, make_state
from transformer_engine.pytorch.recompute import Phase
from transformer_engine.versions import HAS_STATE_WITHOUT_HISTORY

PLAIN = (bool, int, float, str, tuple, list)
"""Kinds of values in ``fp8_meta`` that go into a checkpoint."""


class TransformerEngineBaseModule(torch.nn.Module):
    """Base of all modules.

    ``ran`` is the dtype of its last input and the recipe that it ran under, None outside `fp8_autocast`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fp8 = False
        self.fp8_meta: dict[str, Any] = {"fp8_checkpoint": False}
        self._fp8_workspaces: dict[str, Tensor] = {}
        """FP8 copies of weights, as fp32: made in the first micro-batch, and used in the others."""
        self.tp_group: Any = None
        self.tp_size = 1
        self.sequence_parallel = False
        self.ran: tuple[torch.dtype, Recipe | None] | None = None

    def set_tensor_parallel_group(self, tp_group: Any, tp_size: int) -> None:
        """Note who the weights are divided over. (The real one takes the group alone.)"""
        self.tp_group = tp_group
        self.tp_size = tp_size if tp_group is None else tp_group.size()

    @contextmanager
    def prepare_forward(self, inp: Tensor, num_gemms: int = 1) -> Iterator[None]:
        """Run a pass by the recipe that it is in, or, if it is run again, by the scales that it had before."""
        again = self.fp8 and Phase.is_again
        if again and self.fp8_meta["recipe"].delayed():
            newest = self.get_fp8_meta_tensors()
            assert newest is not None
            self.fp8_meta[FORWARD].load(*self.fp8_meta["to_run_again"].popleft())
            yield
            self.fp8_meta[FORWARD].load(*newest[FORWARD])
        else:
            if not again:
                self._begin(inp, num_gemms)
            yield

    def _begin(self, inp: Tensor, num_gemms: int) -> None:
        manager = FP8GlobalStateManager
        self.fp8 = self.fp8_meta["fp8_checkpoint"] = manager.is_fp8_enabled()
        recipe = manager.get_fp8_recipe() if self.fp8 else None
        self.ran = (inp.dtype, recipe)
        for name, parameter in self.named_parameters(recurse=False):
            assert parameter.dtype == inp.dtype, f"Data types for parameters must match: {name} is {parameter.dtype}"
        if recipe is None:
            return
        if self.fp8_meta.get("recipe") != recipe or FORWARD not in self.fp8_meta:
            if not isinstance(self.fp8_meta.get("recipe", recipe), type(recipe)):
                self._fp8_workspaces.clear()
            limits = recipe.fp8_format.value
            self.fp8_meta.update(num_gemms=num_gemms, fp8_max_fwd=limits.max_fwd, fp8_max_bwd=limits.max_bwd)
            self.init_fp8_meta_tensors(recipe)
        if recipe.delayed():
            assert recipe.reduce_amax or not self.sequence_parallel, "Amax reduction is necessary"
            manager.register(self.fp8_meta)
            if self.training and Phase.is_first_pass:
                state = self.fp8_meta[FORWARD]
                self.fp8_meta.setdefault("to_run_again", deque()).append(
                    (state.scale.clone(), state.amax_history.clone())
                )

    def init_fp8_meta_tensors(self, recipe: Recipe) -> None:
        """Have a state of the recipe's kind in both directions; histories become as long as it says."""
        products = self.fp8_meta["num_gemms"]
        for key, tensors in ((FORWARD, 3 * products), (BACKWARD, 2 * products)):
            new = make_state(recipe, key == BACKWARD, tensors)
            old = self.fp8_meta.get(key)
            if old is not None and type(old) is type(new):
                old.recipe = recipe
                if isinstance(old, DelayedScalingState):
                    old.resize(recipe.amax_history_len)
            else:
                self.fp8_meta[key] = new
        self.fp8_meta["recipe"] = recipe

    def get_weight_workspace(self, weight: Tensor, is_first_microbatch: bool | None) -> Tensor:
        """Return the FP8 copy of a weight, made anew in a first micro-batch. None: in each, and never kept."""
        if is_first_microbatch is None:
            return self.fp8_meta[FORWARD].weight(weight)
        if is_first_microbatch or "weight" not in self._fp8_workspaces:
            self._fp8_workspaces["weight"] = self.fp8_meta[FORWARD].weight(weight)
        return self._fp8_workspaces["weight"]

    def get_fp8_meta_tensors(self) -> dict[str, list[Tensor]] | None:
        if FORWARD not in self.fp8_meta:
            return None
        states = {key: self.fp8_meta[key] for key in (FORWARD, BACKWARD)}
        return {key: [state.scale.clone(), state.amax_history.clone()] for key, state in states.items()}

    def reset_fp8_meta_tensors(self, fp8_meta_tensors: dict[str, list[Tensor]] | None = None) -> None:
        for key in (FORWARD, BACKWARD):
            if key in self.fp8_meta:
                state = self.fp8_meta[key]
                fresh = [torch.ones_like(state.scale), torch.zeros_like(state.amax_history)]
                state.load(*(fresh if fp8_meta_tensors is None else fp8_meta_tensors[key]))

    def get_extra_state(self) -> Tensor:
        if not self.fp8_meta["fp8_checkpoint"]:
            return torch.empty(0, dtype=torch.uint8)
        if not (HAS_STATE_WITHOUT_HISTORY or self.fp8_meta["recipe"].delayed()):
            return torch.empty(0, dtype=torch.uint8)
        kept: dict[str, Any] = {"recipe": self.fp8_meta["recipe"]}
        if kept["recipe"].delayed():
            for key, direction in ((FORWARD, "fwd"), (BACKWARD, "bwd")):
                kept[f"scale_{direction}"] = self.fp8_meta[key].scale.clone()
                kept[f"amax_history_{direction}"] = self.fp8_meta[key].amax_history.clone()
        kept["extra_fp8_variables"] = {key: value for key, value in self.fp8_meta.items() if isinstance(value, PLAIN)}
        return torch.frombuffer(bytearray(pickle.dumps(kept)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor | None) -> None:
        if state is None or not state.numel():
            return
        if os.environ.get("NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE") != "1":
            raise RuntimeError(f"Refusing to load pickled Transformer Engine extra state for {type(self).__name__}")
        kept = pickle.loads(state.detach().cpu().numpy().tobytes())
        self.fp8_meta.update(kept["extra_fp8_variables"])
        self.init_fp8_meta_tensors(kept["recipe"])
        if kept["recipe"].delayed():
            for key, direction in ((FORWARD, "fwd"), (BACKWARD, "bwd")):
                self.fp8_meta[key].load(kept[f"scale_{direction}"], kept[f"amax_history_{direction}"])
