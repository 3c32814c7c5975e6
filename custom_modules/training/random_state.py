"""All random state of a process, to be kept and put back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from megatron.core import tensor_parallel


def random_state() -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy, torch, the device and megatron-core's tracker."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(),
        "megatron": tensor_parallel.get_cuda_rng_tracker().get_states(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on from what `random_state` returned; what it has of another kind of device than this one is left out."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    # Each kind of device has generators, and so states, of its own size.
    if state["cuda"].numel() == torch.cuda.get_rng_state().numel():
        torch.cuda.set_rng_state(state["cuda"])
        tensor_parallel.get_cuda_rng_tracker().set_states(state["megatron"])
    torch.set_rng_state(state["torch"])
