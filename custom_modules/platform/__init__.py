"""The one place that knows whether this is a GPU or a CPU: CUDA and NCCL, or gloo and megatron-core's CUDA names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from custom_modules.errors import UserError
from custom_modules.platform.determinism import deterministic_algorithms
from custom_modules.platform.environment import prepare_environment
from custom_modules.platform.kernels import LOCAL, Kernels, kernels_here
from custom_modules.platform.rank_0 import from_rank_0 as from_rank_0
from custom_modules.platform.rank_0 import patient_group
from custom_modules.platform.world import World
from custom_modules.system import forget_peak, peak_resident_bytes, resident_bytes, usable_cores

if TYPE_CHECKING:
    import torch

    from custom_modules.config.schema import DevicesConfig, RunConfig, TrainingConfig


@dataclass(frozen=True)
class Platform:
    """What the processes of a run compute with and talk over."""

    accelerator: str
    """gpu or cpu."""
    world: World
    kernels: Kernels = LOCAL
    """What computes the layers."""

    @property
    def backend(self) -> str:
        return "nccl" if self.accelerator == "gpu" else "gloo"

    @property
    def device_name(self) -> str:
        """The chip's name on a GPU; ``CPU`` elsewhere."""
        import torch

        return torch.cuda.get_device_name() if self.accelerator == "gpu" else "CPU"

    @property
    def gpu_id(self) -> str | None:
        """What no other GPU in the world is called; None on a CPU."""
        import torch

        return str(torch.cuda.get_device_properties(self.device).uuid) if self.accelerator == "gpu" else None

    @classmethod
    def detect(cls, config: TrainingConfig, world: World | None = None) -> Platform:
        """Resolve ``trainer.accelerator`` and check that the launcher started what the config describes.

        Raises:
            UserError: no GPU where one is asked for, too few of them, a wrong number of processes, kernels that are
                not to be had (`custom_modules.platform.kernels`), or an environment that contradicts the config.
        """
        prepare_environment(config)
        world = world or World.from_environment()
        accelerator = find_accelerator(config.trainer, world)
        return cls(accelerator, world, kernels_here(config, accelerator))

    @property
    def device(self) -> torch.device:
        """Where this process keeps its tensors."""
        import torch

        return torch.device("cuda", gpu_of(self.world)) if self.accelerator == "gpu" else torch.device("cpu")

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given; a CPU always has."""
        import torch

        if self.accelerator == "gpu":
            torch.cuda.synchronize()

    def memory_bytes(self) -> int:
        """What tensors take on the device; on a CPU, the resident memory of this process."""
        import torch

        return torch.cuda.memory_allocated() if self.accelerator == "gpu" else resident_bytes()

    def peak_memory_bytes(self) -> int:
        """The most that `memory_bytes` was, since the start or `forget_peak_memory`."""
        import torch

        return torch.cuda.max_memory_allocated() if self.accelerator == "gpu" else peak_resident_bytes()

    def forget_peak_memory(self) -> None:
        """Where the system allows it: else the peak stays the one since the start."""
        import torch

        if self.accelerator == "gpu":
            torch.cuda.reset_peak_memory_stats()
        else:
            forget_peak()

    def device_bytes(self) -> int:
        """The memory of the device; on a CPU, of the machine."""
        import torch

        if self.accelerator == "gpu":
            return torch.cuda.get_device_properties(self.device).total_memory
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def release_memory(self) -> None:
        """Give back what torch keeps for tensors to come."""
        import torch

        if self.accelerator == "gpu":
            torch.cuda.empty_cache()

    @contextmanager
    def connected(self, backend: str | None = None, timeout: timedelta = timedelta(minutes=10)) -> Iterator[None]:
        """torch.distributed's default group over all processes.

        Args:
            backend: instead of the device's own.
            timeout: for the connection and for every collective after it.
        """
        import torch

        from custom_modules.platform.rendezvous import join

        world = self.world
        backend = backend or self.backend
        if self.accelerator == "gpu":
            torch.cuda.set_device(self.device)
        join(world, backend, timeout)
        try:
            with patient_group(timeout):
                yield
        finally:
            torch.distributed.destroy_process_group()

    @contextmanager
    def running(self, config: TrainingConfig) -> Iterator[None]:
        """Processes connected, megatron-core's groups and RNGs set up; torn down on the way out.

        Args:
            config: gives the parallel sizes, the seed and the threads per process.
        """
        import torch
        from megatron.core import parallel_state, tensor_parallel

        model = config.model
        with ExitStack() as stack:
            if self.accelerator == "cpu":
                from custom_modules.platform.cpu_adapter import cuda_names_on_cpu

                torch.set_num_threads(cpu_threads(config))
                stack.enter_context(cuda_names_on_cpu())
            if config.trainer.deterministic:
                stack.enter_context(deterministic_algorithms())
            stack.enter_context(self.connected())
            parallel_state.initialize_model_parallel(
                tensor_model_parallel_size=model.tensor_model_parallel_size,
                pipeline_model_parallel_size=model.pipeline_model_parallel_size,
                virtual_pipeline_model_parallel_size=model.virtual_pipeline_model_parallel_size,
                context_parallel_size=model.context_parallel_size,
            )
            stack.callback(parallel_state.destroy_model_parallel)
            torch.manual_seed(model.seed)
            tensor_parallel.model_parallel_cuda_manual_seed(model.seed, force_reset_rng=True)
            yield


def find_accelerator(trainer: DevicesConfig, world: World) -> str:
    """Resolve ``trainer.accelerator`` to gpu or cpu.

    Raises:
        UserError: no GPU where one is asked for, too few of them, or another number of processes than the config says.
    """
    import torch

    accelerator = trainer.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: torch sees no GPU here; set trainer.accelerator=cpu to rehearse")
    if accelerator == "gpu" and torch.cuda.device_count() <= gpu_of(world):
        raise UserError(
            f"trainer.devices={trainer.devices}: this node has {torch.cuda.device_count()} GPU(s), "
            f"none for local rank {world.local_rank}; set trainer.devices={torch.cuda.device_count()}"
        )
    if world.size != trainer.world_size:
        raise UserError(
            f"trainer.devices={trainer.devices}: with trainer.num_nodes={trainer.num_nodes} that is "
            f"{trainer.world_size} processes, but {world.source} started {world.size}; set trainer.devices and "
            "trainer.num_nodes to what was started"
        )
    return accelerator


def device_of_one() -> torch.device:
    """Return where a program of one process, without a config, computes: the first GPU that it sees, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def gpu_of(world: World) -> int:
    """Return which of the GPUs that this process sees is its own: the one there is where Slurm shows each task one."""
    import torch

    return 0 if torch.cuda.device_count() == 1 and world.has_own_gpu else world.local_rank


def cpu_threads(config: RunConfig) -> int:
    """OpenMP threads per process: as configured, else this node's usable cores shared by its processes."""
    return config.trainer.cpu_threads or max(1, usable_cores() // config.trainer.devices)
