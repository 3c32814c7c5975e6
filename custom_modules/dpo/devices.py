"""The processes of a DPO run: connected by the project's own launcher, and as accelerate expects to find them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from custom_modules.config.dpo import DpoConfig
from custom_modules.platform import Platform, cpu_threads, find_accelerator, gpu_of
from custom_modules.platform.determinism import deterministic_algorithms, deterministic_environment
from custom_modules.platform.world import World


def detect_platform(config: DpoConfig) -> Platform:
    """Find the devices of this process.

    Raises:
        UserError: as `find_accelerator`; or the environment contradicts ``trainer.deterministic``.
    """
    if config.trainer.deterministic:
        os.environ.update(deterministic_environment(os.environ))
    world = World.from_environment()
    return Platform(find_accelerator(config.trainer, world), world)


@contextmanager
def running(platform: Platform, config: DpoConfig) -> Iterator[None]:
    """Processes connected, threads and algorithms as configured; undone on the way out."""
    import torch

    with ExitStack() as stack:
        if platform.accelerator == "cpu":
            torch.set_num_threads(cpu_threads(config))
            # Where it is not set, accelerate takes another number of threads.
            os.environ["OMP_NUM_THREADS"] = str(cpu_threads(config))
        if config.trainer.deterministic:
            stack.enter_context(deterministic_algorithms())
        stack.enter_context(platform.connected())
        os.environ.update(_place(platform))
        if platform.world.size == 1:
            # accelerate would look for other processes.
            os.environ.pop("LOCAL_RANK", None)
        yield


def _place(platform: Platform) -> dict[str, str]:
    """Return torchrun's variables, whatever started the processes; the local rank is the GPU's number."""
    world = platform.world
    if world.size == 1:
        return {}
    local_rank = gpu_of(world) if platform.accelerator == "gpu" else world.local_rank
    return {"RANK": str(world.rank), "WORLD_SIZE": str(world.size), "LOCAL_RANK": str(local_rank)}
