"""How long a run takes: model FLOPs over a device's peak and the share of it (MFU) that is reached or assumed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.flops import Gpu, find_gpu, known_gpus, total_flops
from custom_modules.plan.parameters import count_parameters

REPORTED_TOKENS_PER_SECOND = 292_700
"""On average over the whole run (Danube report, section 4)."""

REPORTED_GPUS = 8
REPORTED_GPU = "H100 SXM"


@dataclass(frozen=True)
class ReportedSpeed:
    """What the report's throughput means under our count of FLOPs."""

    tokens_per_second: int
    """Of one node."""
    gpus: int
    gpu: str
    mfu: float
    """With attention counted."""
    mfu_without_attention: float
    """By the rule of thumb of 6 FLOPs per parameter and token, embedding included and attention left out."""


@dataclass(frozen=True)
class Speed:
    """What a run's duration is computed from."""

    device: str
    peak_flops: float
    """Of one device, FLOP/s."""
    memory_bytes: int | None
    """Of one device; None if not known."""
    mfu: float
    mfu_is_given: bool

    @property
    def flops(self) -> float:
        """Reached on one device, FLOP/s."""
        return self.peak_flops * self.mfu


@cache
def recipe() -> Config:
    """The report's own run."""
    return load_config("danube_1_8b")


@cache
def reported_speed() -> ReportedSpeed:
    """The report's throughput as MFU, by the FLOPs of the recipe as the report has it."""
    gpu = find_gpu(REPORTED_GPU)
    assert gpu is not None
    tokens_per_peak_flop = REPORTED_TOKENS_PER_SECOND / REPORTED_GPUS / gpu.peak_flops
    return ReportedSpeed(
        tokens_per_second=REPORTED_TOKENS_PER_SECOND,
        gpus=REPORTED_GPUS,
        gpu=gpu.name,
        mfu=total_flops(recipe()) / Curriculum.from_config(recipe()).total_tokens * tokens_per_peak_flop,
        mfu_without_attention=6 * count_parameters(recipe().model).total * tokens_per_peak_flop,
    )


def choose_speed(config: Config, mfu: float | None, gpu: str | None) -> Speed | None:
    """Peak and MFU to plan with.

    The device is the one named, else ``trainer.peak_tflops``, else, unless the run is on a CPU, the report's.

    Args:
        mfu: a fraction of the peak; None: the report's.
        gpu: any usual name.

    Returns:
        None for a run on a CPU with no peak given.

    Raises:
        UserError: an MFU outside (0, 1], or a device that is not in the table.
    """
    if mfu is not None and not 0 < mfu <= 1:
        raise UserError(f"--mfu {mfu:g}: not a fraction of the peak; use a number above 0 and at most 1, such as 0.4")
    given = mfu is not None
    fraction = reported_speed().mfu if mfu is None else mfu
    device = _find(gpu) if gpu else None
    if device is None and config.trainer.peak_tflops is not None:
        return Speed("trainer.peak_tflops", config.trainer.peak_tflops * 1e12, None, fraction, given)
    if device is None and config.trainer.accelerator != "cpu":
        device = _find(REPORTED_GPU)
    return Speed(device.name, device.peak_flops, device.memory_bytes, fraction, given) if device else None


def _find(name: str) -> Gpu:
    gpu = find_gpu(name)
    if gpu is None:
        raise UserError(f"--gpu {name}: not in the table of {', '.join(known_gpus())}; set trainer.peak_tflops instead")
    return gpu
