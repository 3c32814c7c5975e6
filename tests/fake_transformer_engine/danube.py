"""`danube` on the CPU as it runs on a GPU, with Transformer Engine where the fake Transformer Engine can be imported.

Nothing in the program itself allows this: the accelerator that it decides by is replaced from outside. The arguments
are one command or several, with ``then`` between them; they run one after the other in this process. Each connects to
the other processes at a port of its own, of those in ``MASTER_PORTS``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from custom_modules.platform import cpu_adapter, kernels, megatron


def as_on_a_gpu() -> None:
    """Have the kernels chosen and random states kept as on a GPU; megatron-core finds the fake Transformer Engine."""
    megatron.GPU_PACKAGES = ()
    choose = kernels.choose_kernels
    kernels.choose_kernels = lambda config, accelerator, software: choose(config, "gpu", kernels.find_software("gpu"))
    cuda_names = cpu_adapter.cuda_names_on_cpu

    @contextmanager
    def names_and_states() -> Iterator[None]:
        from megatron.core.tensor_parallel import random

        with cuda_names():
            torch.cuda.get_rng_state = random._get_cuda_rng_state = short_state
            torch.cuda.set_rng_state = random._set_cuda_rng_state = set_short_state  # type: ignore[assignment]
            torch.cuda.Stream = object  # type: ignore[misc, assignment]
            yield

    cpu_adapter.cuda_names_on_cpu = names_and_states


STATE_BYTES = 16
"""Of a GPU's generator; the CPU's has 5,056."""
states: dict[bytes, torch.Tensor] = {}


def short_state(*_: Any, **__: Any) -> torch.Tensor:
    """Return the CPU's random state under a name as long as a GPU's."""
    state = torch.get_rng_state()
    name = hashlib.blake2b(state.numpy().tobytes(), digest_size=STATE_BYTES).digest()
    states[name] = state
    return torch.frombuffer(bytearray(name), dtype=torch.uint8)


def set_short_state(state: torch.Tensor, *_: Any, **__: Any) -> None:
    """Go back to a state of this process, or to one that follows from another's name."""
    name = state.numpy().tobytes()
    if len(name) != STATE_BYTES:
        raise RuntimeError("RNG state is wrong size")
    if name in states:
        torch.set_rng_state(states[name])
    else:
        torch.manual_seed(int.from_bytes(name[:8], "little"))


def forget_modules() -> None:
    """Have the next run's alone reduce their largest values, over its groups: elsewhere a process has one run."""
    if fp8 := sys.modules.get("transformer_engine.pytorch.quantization"):
        fp8.FP8GlobalStateManager.reset()


def main(arguments: list[str]) -> int:
    from custom_modules.cli import main as danube

    ports = iter(os.environ["MASTER_PORTS"].split())
    while arguments:
        os.environ["MASTER_PORT"] = next(ports)
        end = arguments.index("then") if "then" in arguments else len(arguments)
        if code := danube(arguments[:end]):
            return code
        forget_modules()
        arguments = arguments[end + 1 :]
    return 0


if __name__ == "__main__":
    as_on_a_gpu()
    sys.exit(main(sys.argv[1:]))
