"""The figures of one variant in one stage, and of a variant over the whole curriculum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean, median
from typing import Any

from custom_modules.bench.timing import Timing
from custom_modules.config.schema import MODEL_SHAPE, Config, TrainingConfig
from custom_modules.config.sft import SftConfig
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.manifest import load_manifest
from custom_modules.plan.duration import reported_run, reported_speed
from custom_modules.plan.flops import find_gpu, flops_of_whole_squares, flops_per_token, run_peak_flops
from custom_modules.plan.memory import fullest_device
from custom_modules.plan.seen import seen_contexts

OUT_OF_MEMORY = "out of memory"
CPU = "CPU"
"""What `Platform.device_name` is where there is no GPU."""
KILLED = "killed, as the kernel does where memory runs out"


@dataclass(frozen=True)
class Figures:
    """What follows from a `Timing`."""

    device: str
    data: str
    """prepared or random."""
    step_seconds: tuple[float, ...]
    loader_seconds: tuple[float, ...]
    tokens_per_second: float
    """The speed of all devices together, by the median step."""
    slowest_tokens_per_second: float
    fastest_tokens_per_second: float
    tokens_per_second_per_device: float
    flops_per_token: float
    """Counted by the convention of `custom_modules.plan.flops`."""
    tflops_per_device: float
    whole_square_tflops_per_device: float
    """The same speed as others count it: `custom_modules.plan.flops.flops_of_whole_squares`."""
    peak_tflops: float | None
    """Dense bf16, of one device."""
    mfu: float | None
    memory_bytes: int
    planned_memory_bytes: int
    memory_difference: float
    """Measured over planned, less 1."""
    loader_share: float
    """The part of the median step that is spent waiting for batches."""
    reported_tokens_per_second_per_device: float | None
    """The paper's average over all stages, where this is its model on its GPU."""


@dataclass(frozen=True)
class Row:
    """One variant in one phase of a stage."""

    variant: str
    stage: str
    seq_length: int
    """Tokens in a sequence; in fine-tuning in the longest, with what pads it."""
    global_batch_tokens: int
    """In fine-tuning the mean, without what pads them."""
    micro_batch_size: int
    num_microbatches: int
    """Gradient accumulation."""
    is_padded: bool
    """Whether steps have different numbers of tokens, as in fine-tuning."""
    phase: int
    """Which of the stage's phases, from 1."""
    phases: int
    """How many the stage has; 1 where its batch does not grow."""
    steps: int
    """How many the run takes in this phase."""
    processes: int
    figures: Figures | None
    problem: str | None
    """Why there are no figures."""
    advice: str | None = None
    """What ran out of memory, and what has it fit by the plan."""

    @property
    def is_out_of_memory(self) -> bool:
        return self.problem in (OUT_OF_MEMORY, KILLED)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_row(
    variant: str,
    config: TrainingConfig,
    stage_name: str,
    timing: Timing | None,
    problem: str | None,
    phase: int = -1,
    advice: str | None = None,
) -> Row:
    """Make the row of a stage's phase, by its index; of the last unless given.

    One of fine-tuning is of the steps that were measured: its sequences are as long as the longest of them, and a step
    has their mean of tokens.
    """
    phases = Curriculum.from_config(config).stage(stage_name).phases
    stage = phases[phase]
    tokens: float = stage.global_batch_tokens
    if isinstance(config, SftConfig) and timing is not None:
        padded = timing.seq_length * stage.global_batch_size
        stage, tokens = replace(stage, seq_length=timing.seq_length, global_batch_tokens=padded), mean(timing.tokens)
    return Row(
        variant=variant,
        stage=stage_name,
        seq_length=stage.seq_length,
        global_batch_tokens=round(tokens),
        micro_batch_size=stage.micro_batch_size,
        num_microbatches=stage.num_microbatches,
        is_padded=isinstance(config, SftConfig),
        phase=range(1, len(phases) + 1)[phase],
        phases=len(phases),
        steps=phases[phase].steps,
        processes=config.trainer.world_size,
        figures=None if timing is None else _figures(config, stage, timing),
        problem=problem,
        advice=advice,
    )


def _pairs(config: TrainingConfig, stage: Stage, timing: Timing) -> float | None:
    """Return what attention sees of prepared documents that do not see each other, as `flops_per_token` takes it.

    Random tokens have next to no ends.
    """
    if not isinstance(config, Config) or timing.data != "prepared":
        return None
    seen = seen_contexts(config, load_manifest(config)).get(stage.name)
    return seen.pairs if seen else None


def _figures(config: TrainingConfig, stage: Stage, timing: Timing) -> Figures:
    devices = config.trainer.world_size
    rates, rate = timing.rates, timing.tokens_per_second
    length = max(1, round(timing.mean_length))
    per_token = flops_per_token(config, length, _pairs(config, stage, timing))
    flops = per_token * rate / devices
    peak = run_peak_flops(config, timing.device)
    planned = fullest_device(config, stage, on_cpu=timing.device == CPU).total
    return Figures(
        device=timing.device,
        data=timing.data,
        step_seconds=timing.seconds,
        loader_seconds=timing.loader_seconds,
        tokens_per_second=rate,
        slowest_tokens_per_second=min(rates),
        fastest_tokens_per_second=max(rates),
        tokens_per_second_per_device=rate / devices,
        flops_per_token=per_token,
        tflops_per_device=flops / 1e12,
        whole_square_tflops_per_device=flops_of_whole_squares(config.model, length) / length * rate / devices / 1e12,
        peak_tflops=peak / 1e12 if peak else None,
        mfu=flops / peak if peak else None,
        memory_bytes=timing.memory_bytes,
        planned_memory_bytes=planned,
        memory_difference=timing.memory_bytes / planned - 1,
        loader_share=median(timing.loader_seconds) / median(timing.seconds),
        reported_tokens_per_second_per_device=_reported(config, timing.device),
    )


def _reported(config: TrainingConfig, device: str) -> float | None:
    if not isinstance(config, Config):
        return None
    gpu, reported = find_gpu(device), reported_speed(config)
    if reported is None:
        return None
    ours, theirs = config.model, reported_run(config).model
    same = all(getattr(ours, key) == getattr(theirs, key) for key in (*MODEL_SHAPE, "sliding_window"))
    if gpu is None or gpu.name != reported.gpu or not same:
        return None
    return reported.tokens_per_second / reported.gpus


def whole_curriculum(config: TrainingConfig, rows: Sequence[Row]) -> float | None:
    """Tokens/s over all stages and their phases, each for as long as it is trained; None unless all were measured.

    Args:
        rows: of one variant, whose config it is.
    """
    rates = {(row.stage, row.phase): row.figures.tokens_per_second for row in rows if row.figures}
    curriculum = Curriculum.from_config(config)
    trained = {
        (stage.name, number): phase.trained_tokens
        for stage in curriculum.stages
        for number, phase in enumerate(stage.phases, start=1)
    }
    if rates.keys() != trained.keys():
        return None
    return curriculum.total_tokens / sum(tokens / rates[phase] for phase, tokens in trained.items())
