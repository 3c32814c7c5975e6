"""The global state of FP8: whether it is on, by which recipe, and whose largest values are reduced together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from transformer_engine.common.recipe import DelayedScaling, Recipe

FORWARD, BACKWARD = "scaling_fwd", "scaling_bwd"


class FP8GlobalStateManager:
    """Class attributes are the state, and modules that were once registered stay so."""

    FP8_ENABLED = False
    FP8_RECIPE: Recipe | None = None
    FP8_DISTRIBUTED_GROUP: Any = None
    IS_FIRST_FP8_MODULE = False
    AUTOCAST_DEPTH = 0
    registered: ClassVar[dict[tuple[str, Any], list[dict[str, Any]]]] = {}
    """Recipe and group -> the states of each module with delayed scaling, by direction."""

    @classmethod
    def reset(cls) -> None:
        cls.FP8_ENABLED, cls.FP8_RECIPE, cls.FP8_DISTRIBUTED_GROUP = False, None, None
        cls.IS_FIRST_FP8_MODULE, cls.AUTOCAST_DEPTH = False, 0
        cls.registered = {}

    @classmethod
    def is_fp8_enabled(cls) -> bool:
        return cls.FP8_ENABLED

    @classmethod
    def get_fp8_recipe(cls) -> Recipe:
        return cls.FP8_RECIPE or DelayedScaling()

    @classmethod
    def get_fp8_group(cls) -> Any:
        return cls.FP8_DISTRIBUTED_GROUP

    @classmethod
    def with_fp8_parameters(cls) -> bool:
        return False

    @classmethod
    def is_first_fp8_module(cls) -> bool:
        """Whether none has asked before in this `fp8_autocast`: its backward pass is the last, and updates all."""
        first, cls.IS_FIRST_FP8_MODULE = cls.IS_FIRST_FP8_MODULE, False
        return first

    @classmethod
    def register(cls, fp8_meta: dict[str, Any]) -> None:
        """Have a module's largest values reduced with those of all others of its recipe and group. Once for each."""
        if "registered" not in fp8_meta:
            fp8_meta["registered"] = None
            states = {key: fp8_meta[key] for key in (FORWARD, BACKWARD)}
            cls.registered.setdefault((str(fp8_meta["recipe"]), cls.FP8_DISTRIBUTED_GROUP), []).append(states)

    @classmethod
    def reduce_and_update_fp8_tensors(cls, forward: bool = True) -> None:
        """Reduce over the groups, and make scales of it, for every module, whether it took part in the pass or not."""
        for (_, group), modules in cls.registered.items():
            states = [both[FORWARD if forward else BACKWARD] for both in modules]
            largest = torch.cat([state.amax_history[0] for state in states])
            together = torch.distributed.is_initialized() and torch.distributed.get_world_size(group) > 1
            if states[0].recipe.reduce_amax and together:
                torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX, group=group)
            parts = largest.split([state.amax_history.shape[1] for state in states])
            for state, part in zip(states, parts, strict=True):
                state.amax_history[0] = part
                state.update()

    @classmethod
    def get_autocast_state(cls) -> tuple[Any, ...]:
        return cls.FP8_ENABLED, cls.FP8_RECIPE, cls.FP8_DISTRIBUTED_GROUP, cls.IS_FIRST_FP8_MODULE

    @classmethod
    def set_autocast_state(cls, fp8_state: tuple[Any, ...]) -> None:
        cls.FP8_ENABLED, cls.FP8_RECIPE, cls.FP8_DISTRIBUTED_GROUP, cls.IS_FIRST_FP8_MODULE = fp8_state


def is_fp8_available(return_reason: bool = False) -> bool | tuple[bool, str]:
    return (True, "") if return_reason else True


def is_fp8_block_scaling_available(return_reason: bool = False) -> bool | tuple[bool, str]:
    return (True, "") if return_reason else True


@contextmanager
def fp8_autocast(
    enabled: bool = True,
    calibrating: bool = False,
    fp8_recipe: Recipe | None = None,
    fp8_group: Any = None,
    _graph: bool = False,
) -> Iterator[None]:
    """Run linears in FP8 meanwhile. Leaving the outermost updates scales, but in an evaluation."""
    state = FP8GlobalStateManager
    before = state.get_autocast_state()
    is_first = state.AUTOCAST_DEPTH == 0 or state.IS_FIRST_FP8_MODULE
    state.set_autocast_state((enabled, fp8_recipe or DelayedScaling(), fp8_group, is_first))
    state.AUTOCAST_DEPTH += 1
    try:
        yield
    finally:
        state.set_autocast_state(before)
        state.AUTOCAST_DEPTH -= 1
        if enabled and state.AUTOCAST_DEPTH == 0 and torch.is_grad_enabled():
            state.reduce_and_update_fp8_tensors(forward=True)


@contextmanager
def fp8_model_init(
    enabled: bool = True, recipe: Recipe | None = None, preserve_high_precision_init_val: bool = False
) -> Iterator[None]:
    """Refuse: parameters that are kept in FP8 are what nothing here has."""
    raise NotImplementedError
    yield
