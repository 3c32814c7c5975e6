"""What CUDA and its libraries read in the environment when they start, put there before anything asks for a GPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from custom_modules.platform.determinism import deterministic_environment

if TYPE_CHECKING:
    from custom_modules.config.schema import TrainingConfig


def cuda_environment(config: TrainingConfig) -> dict[str, str]:
    """What CUDA has to find in the environment when it starts, where the user has not set it.

    Tensor and context parallelism overlap communication with computing by the order in which kernels are given to the
    device, as megatron-core checks before each such linear; FSDP's gathers need other queues.
    """
    model = config.model
    divided = model.tensor_model_parallel_size > 1 or model.context_parallel_size > 1
    return {"CUDA_DEVICE_MAX_CONNECTIONS": "1"} if divided and not model.fsdp else {}


def prepare_environment(config: TrainingConfig) -> None:
    """Complete this process's environment; whatever is called twice is done once.

    To ask whether there is a GPU may start CUDA already, so this is done where it turns out that there is none, too.

    Raises:
        UserError: a variable that the user has set contradicts the config.
    """
    if config.trainer.accelerator != "cpu":
        for name, value in cuda_environment(config).items():
            os.environ.setdefault(name, value)
    if config.trainer.deterministic:
        os.environ.update(deterministic_environment(os.environ))


def import_megatron_for(config: TrainingConfig) -> None:
    """Import megatron-core to run a config in this process, as `custom_modules.platform.megatron` has it.

    Raises:
        UserError: as `prepare_environment`.
    """
    prepare_environment(config)
    from custom_modules.platform.megatron import import_megatron

    import_megatron(config.trainer.accelerator)
