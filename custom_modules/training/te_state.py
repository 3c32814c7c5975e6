"""What Transformer Engine keeps and torch does not: in a checkpoint that was written under other kernels, and aside."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.optimizer import MegatronOptimizer
from torch.distributed.checkpoint import FileSystemReader

from custom_modules.model.language_model import LanguageModel

EXTRA_STATE = "_extra_state"
"""What a module has beside its weights: Transformer Engine's FP8 scales, and nothing elsewhere."""
ALLOW_PICKLES = "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE"
"""Transformer Engine's environment variable, asked for when a module's state is set."""


def take_out_absent(model: dict[str, Any], dist: Path) -> dict[str, None]:
    """Take the extra states that a checkpoint lacks out of what is asked of it: a fresh module has none to lose.

    Args:
        model: a LanguageModel's ``sharded_state_dict``; changed in place.
        dist: the checkpoint's folder.

    Returns:
        What to add to the loaded state instead.
    """
    stored = FileSystemReader(dist).read_metadata().state_dict_metadata
    absent = [
        name
        for name, entry in model.items()
        if name.endswith(EXTRA_STATE) and isinstance(entry, ShardedObject) and entry.unique_key not in stored
    ]
    for name in absent:
        del model[name]
    return dict.fromkeys(absent)


@contextmanager
def pickles_allowed() -> Iterator[None]:
    """Have Transformer Engine read the FP8 states that it pickles: by itself 2.20 refuses those of delayed scaling.

    A checkpoint is trusted as it is: torch's have pickles in any case, ``.metadata`` to begin with.
    """
    before = os.environ.get(ALLOW_PICKLES)
    os.environ[ALLOW_PICKLES] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[ALLOW_PICKLES]
        else:
            os.environ[ALLOW_PICKLES] = before


def place_step(loaded: dict[str, Any], optimizer: MegatronOptimizer) -> None:
    """Put the step count where this Adam looks for it: torch's beside each moment, the fused ones' in the groups.

    Left where it was, the correction of the moments would begin anew, or loading fail. The distributed optimizer's
    checkpoints have it in the groups always.

    Args:
        loaded: the optimizer's part of a checkpoint; changed in place.
    """
    parts = getattr(optimizer, "chained_optimizers", [optimizer])
    in_groups = not isinstance(parts[0].optimizer, torch.optim.AdamW)
    for state in _with_moments(loaded):
        moments, groups = state["state"], state["param_groups"]
        found = [moments.pop("common_step", None), *(group.pop("step", None) for group in groups)]
        steps = [int(step) for step in found if step is not None]
        if not steps:
            continue
        if in_groups:
            for group in groups:
                group["step"] = max(steps)
        else:
            moments["common_step"] = torch.tensor(float(max(steps)))


def fp8_histories(chunks: Sequence[LanguageModel]) -> dict[Any, Any]:
    """Return a copy of each FP8 module's largest values and scales; None of one that has not run yet.

    Only delayed scaling has any.
    """
    config = chunks[0].config
    if config.fp8 is None or config.fp8_recipe != "delayed":
        return {}
    modules = [module for chunk in chunks for module in chunk.modules() if hasattr(module, "reset_fp8_meta_tensors")]
    return {module: module.get_fp8_meta_tensors() for module in modules}


def set_fp8_histories(histories: dict[Any, Any]) -> None:
    """Put back what `fp8_histories` returned; where that is None, begin anew."""
    for module, history in histories.items():
        module.reset_fp8_meta_tensors(history)


def _with_moments(loaded: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(loaded, dict):
        return
    if "state" in loaded and "param_groups" in loaded:
        yield loaded
    else:
        for inner in loaded.values():
            yield from _with_moments(inner)
