"""What a run in FP8 takes on GPUs that have it, beside what it takes in bf16 on the one that it is planned for."""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.plan.duration import DEFAULT_GPU, Speed
from custom_modules.plan.flops import ALL_SEEN, Pairs, find_gpu, flops_with_scoring
from custom_modules.plan.memory import fullest_device
from custom_modules.plan.remedies import with_changes


@dataclass(frozen=True)
class Price:
    """A whole run on one kind of GPU."""

    device: str
    fp8: str | None
    """``model.fp8`` there."""
    device_hours: float
    memory: int
    """Bytes of the fullest device in its fullest stage."""


def prices(config: TrainingConfig, speed: Speed | None, pairs: Pairs = ALL_SEEN) -> tuple[Price, ...]:
    """Price a run in FP8 that is planned for a GPU without it: there in bf16, and as it is on a GPU that has it.

    Returns:
        Nothing where the planned GPU runs the config as it is.
    """
    gpu, other = find_gpu(speed.device) if speed else None, find_gpu(DEFAULT_GPU)
    if speed is None or gpu is None or other is None or gpu.has_fp8 or not config.model.fp8:
        return ()
    flops = flops_with_scoring(config, pairs)
    in_bf16 = with_changes(config, {"model.fp8": None})
    return (
        Price(gpu.name, None, flops / speed.flops / 3600, _memory(in_bf16)),
        Price(other.name, config.model.fp8, flops / (other.peak_flops * speed.mfu) / 3600, _memory(config)),
    )


def _memory(config: TrainingConfig) -> int:
    return max(fullest_device(config, stage).total for stage in Curriculum.from_config(config).stages)
