"""How long a run takes: model FLOPs over a device's peak and the share of it (MFU) that is reached or assumed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config, DevicesConfig
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.flops import Gpu, find_gpu, known_gpus, total_flops
from custom_modules.plan.parameters import count_parameters

DEFAULT_MFU = 0.4
"""Assumed where a recipe reports no speed, or one above the peak: about what Danube's report has."""

DEFAULT_GPU = "H100 SXM"

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class ReportedSpeed:
    """What the paper's throughput means under our count of FLOPs."""

    tokens_per_second: float
    """The mean over a whole run, of all its GPUs."""
    days: float | None
    """What that run took, where the paper says this and no speed."""
    flops: int
    """What that run computed."""
    gpus: int
    gpu: str
    section: str
    """Where the paper says so."""
    mfu: float
    """The MFU with attention counted."""
    mfu_without_attention: float
    """What the rule of thumb of 6 FLOPs per parameter and token gives, embedding included and attention left out."""
    days_at_half: float
    """What that run would take on these GPUs at an MFU of 50%."""

    @property
    def is_possible(self) -> bool:
        """Whether the GPUs have as many FLOPs, in dense bf16, as were reported."""
        return self.mfu <= 1


@dataclass(frozen=True)
class Speed:
    """What a run's duration is computed from."""

    device: str
    peak_flops: float
    """The peak of one device, FLOP/s."""
    memory_bytes: int | None
    """The memory of one device; None if not known."""
    mfu: float
    mfu_is_given: bool

    @property
    def flops(self) -> float:
        """Reached on one device, FLOP/s."""
        return self.peak_flops * self.mfu


def reported_run(config: Config) -> Config:
    """Return the config of the run that a recipe's reported speed is of: its ``reported.recipe``, else itself.

    Raises:
        UserError: there is no such recipe.
    """
    name = config.reported.recipe if config.reported else None
    if name is None:
        return config
    try:
        return _recipe(name)
    except UserError as error:
        said = str(error).removeprefix(f"--config-name {name}: ")
        raise UserError(f"reported.recipe={name}: {said}") from None


@cache
def _recipe(name: str) -> Config:
    return load_config(name)


def reported_speed(config: Config) -> ReportedSpeed | None:
    """Return the reported throughput as MFU, by the FLOPs of the run that it is of; None where none is reported.

    Raises:
        UserError: a device that is not in the table, or no such recipe.
    """
    reported = config.reported
    if reported is None:
        return None
    gpu = _find("reported.gpu=", reported.gpu)
    run = reported_run(config)
    tokens, flops = Curriculum.from_config(run).total_tokens, total_flops(run)
    speed = tokens / (reported.days * SECONDS_A_DAY) if reported.days else float(reported.tokens_per_second or 0)
    tokens_per_peak_flop = speed / reported.gpus / gpu.peak_flops
    return ReportedSpeed(
        tokens_per_second=speed,
        days=reported.days,
        flops=flops,
        gpus=reported.gpus,
        gpu=gpu.name,
        section=reported.section,
        mfu=flops / tokens * tokens_per_peak_flop,
        mfu_without_attention=6 * count_parameters(run.model).total * tokens_per_peak_flop,
        days_at_half=flops / (reported.gpus * gpu.peak_flops / 2) / SECONDS_A_DAY,
    )


def choose_speed(config: Config, mfu: float | None, gpu: str | None) -> Speed | None:
    """Peak and MFU to plan with.

    The device is the one named, else ``trainer.peak_tflops``, else, unless the run is on a CPU, the recipe's
    ``reported.gpu``, else `DEFAULT_GPU`.

    Args:
        mfu: a fraction of the peak; None: the reported run's if it can be, else `DEFAULT_MFU`.
        gpu: any usual name.

    Returns:
        None for a run on a CPU with no peak given.

    Raises:
        UserError: an MFU outside (0, 1], or a device that is not in the table.
    """
    reported = reported_speed(config)
    assumed = reported.mfu if reported and reported.is_possible else DEFAULT_MFU
    return speed_of(config.trainer, mfu, gpu, assumed, ("reported.gpu=", reported.gpu if reported else DEFAULT_GPU))


def speed_of(
    trainer: DevicesConfig,
    mfu: float | None,
    gpu: str | None,
    assumed: float = DEFAULT_MFU,
    default: tuple[str, str] = ("", DEFAULT_GPU),
) -> Speed | None:
    """Peak and MFU to plan a run of any kind with, as `choose_speed` has it.

    Args:
        assumed: the MFU where none is given.
        default: the device where none is, and what named it.

    Returns:
        None for a run on a CPU with no peak given.

    Raises:
        UserError: an MFU outside (0, 1], or a device that is not in the table.
    """
    if mfu is not None and not 0 < mfu <= 1:
        raise UserError(f"--mfu {mfu:g}: not a fraction of the peak; use a number above 0 and at most 1, such as 0.4")
    given = mfu is not None
    fraction = assumed if mfu is None else mfu
    device = _find("--gpu ", gpu) if gpu else None
    if device is None and trainer.peak_tflops is not None:
        return Speed("trainer.peak_tflops", trainer.peak_tflops * 1e12, None, fraction, given)
    if device is None and trainer.accelerator != "cpu":
        device = _find(*default)
    return Speed(device.name, device.peak_flops, device.memory_bytes, fraction, given) if device else None


def _find(option: str, name: str) -> Gpu:
    gpu = find_gpu(name)
    if gpu is None:
        known = ", ".join(known_gpus())
        raise UserError(f"{option}{name}: not in the table of {known}; set trainer.peak_tflops instead")
    return gpu
