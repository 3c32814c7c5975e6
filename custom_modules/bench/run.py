"""Runs the variants: each stage of each in processes of its own, or in those that a launcher has started."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from custom_modules.bench.row import KILLED, OUT_OF_MEMORY, Row, make_row
from custom_modules.bench.timing import Timing
from custom_modules.bench.variants import Variant
from custom_modules.config.load import load_training_config
from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.sft import SftConfig
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.platform import cpu_threads
from custom_modules.platform.launch import FORWARDED, launch
from custom_modules.signal_handlers import handling

_KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Request:
    """What to measure."""

    config_name: str
    config_dir: Path | None
    overrides: tuple[str, ...]
    stages: tuple[str, ...]
    """Names; empty: all."""
    warmup: int
    steps: int
    random_tokens: bool

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warmup < 0:
            raise UserError(f"--steps {self.steps} --warmup {self.warmup}: give at least 1 step, and 0 to warm up")

    def load(self, variant: Variant) -> TrainingConfig:
        """A variant's config. Raises UserError if it is none, or lacks one of the stages."""
        config = load_training_config(self.config_name, [*self.overrides, *variant.overrides], self.config_dir)
        known = list(config.stages)
        for name in self.stages:
            if name not in known:
                raise UserError(f"--stages {name}: no such stage; there are {', '.join(known)}")
        return config

    def stages_of(self, config: TrainingConfig) -> tuple[str, ...]:
        return self.stages or tuple(stage.name for stage in Curriculum.from_config(config).stages)

    def command(self, variant: Variant, stage: str, into: Path) -> list[str]:
        """Return the command line of one of the processes that measure one stage of a variant."""
        folder = [f"--config-dir={self.config_dir}"] if self.config_dir else []
        random = ["--random-tokens"] if self.random_tokens else []
        numbers = [f"--warmup={self.warmup}", f"--steps={self.steps}", f"--stages={stage}", f"--into={into}"]
        words = [*self.overrides, *variant.overrides]
        return ["bench", f"--config-name={self.config_name}", *folder, *numbers, *random, *words]


class Stopped(Exception):
    """A signal ended the measurement."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def measure_variants(request: Request, configs: dict[Variant, TrainingConfig]) -> Iterator[Row]:
    """Start the processes of one stage of one variant after another.

    Raises:
        Stopped: the processes have ended.
    """
    # While processes run, `launch` passes signals on to them.
    with handling(FORWARDED, stop):
        for variant, config in configs.items():
            for stage in request.stages_of(config):
                with tempfile.TemporaryDirectory(prefix="danube_bench_") as folder:
                    command = request.command(variant, stage, Path(folder))
                    code = launch(config.trainer.devices, command, cpu_threads(config))
                    if code - 128 in FORWARDED:
                        raise Stopped(code - 128)
                    timings, problem, advice = _read(Path(folder), code)
                if problem:
                    yield make_row(variant.name, config, stage, None, problem, advice=advice)
                for phase, timing in enumerate(timings):
                    yield make_row(variant.name, config, stage, timing, None, phase)


def stop(number: int, frame: FrameType | None) -> None:
    """Handle a signal by ending the measurement."""
    raise Stopped(number)


def _read(folder: Path, code: int) -> tuple[list[Timing], str | None, str | None]:
    """What the processes left: rank 0 each phase's timing, or any of them what went wrong, and what would mend it."""
    problem, advice = problem_left(folder, code)
    if problem is not None:
        return [], problem, advice
    [left] = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return [Timing.read(timing) for timing in left["timings"]], None, None


def problem_left(folder: Path, code: int) -> tuple[str | None, str | None]:
    """Return what went wrong in processes that `leave` something in a folder, and what would mend it; None, nothing.

    Args:
        code: that of the first that failed.
    """
    left = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    problems = {record["problem"]: record.get("advice") for record in left if "problem" in record}
    if problems:
        problem = OUT_OF_MEMORY if OUT_OF_MEMORY in problems else next(iter(problems))
        return problem, problems[problem]
    if code == _KILLED:
        return KILLED, None
    return (f"failed with exit code {code}; why is above" if code else None), None


def measure_into(config: TrainingConfig, stage: str, request: Request, rank: int, folder: Path) -> int:
    """Measure in one of the processes, and leave the result, or what went wrong, in ``folder``.

    Returns:
        The exit code.
    """

    def measure() -> dict[str, Any] | None:
        timings = list(_timings(config, (stage,), request))
        return {"timings": list(map(asdict, timings))} if rank == 0 else None

    return leave(folder, rank, measure)


def leave(folder: Path, rank: int, work: Callable[[], dict[str, Any] | None]) -> int:
    """Do a process's share of a measurement, and leave what it gives, or what went wrong, in a folder.

    Returns:
        The exit code.
    """
    from custom_modules.training.out_of_memory import NoRoomError, is_out_of_memory

    code = 0
    record: dict[str, Any] | None = None
    try:
        record = work()
    except NoRoomError as error:
        code, record = 1, {"problem": OUT_OF_MEMORY, "advice": str(error)}
    except UserError as error:
        code, record = error.exit_code, {"problem": str(error)}
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        code, record = 1, {"problem": OUT_OF_MEMORY}
    if record is not None:
        (folder / f"{rank}.json").write_text(json.dumps(record))
    return code


def measure_here(config: TrainingConfig, variant: Variant, request: Request) -> Iterator[Row]:
    """Time one stage after another on one model, in the processes of a launcher. Collective."""
    stages, curriculum = request.stages_of(config), Curriculum.from_config(config)
    timings = _timings(config, stages, request)
    phases = [(stage, phase) for stage in stages for phase in range(len(curriculum.stage(stage).phases))]
    for (stage, phase), timing in zip(phases, timings, strict=True):
        yield make_row(variant.name, config, stage, timing, None, phase)


def _timings(config: TrainingConfig, stages: tuple[str, ...], request: Request) -> Iterator[Timing]:
    """Time the stages in this process, by the kind of run."""
    if isinstance(config, SftConfig):
        from custom_modules.bench.tuning_steps import time_tuning

        return time_tuning(config, request.warmup, request.steps, request.random_tokens)
    from custom_modules.bench.steps import time_stages

    assert isinstance(config, Config), "of the kinds of run there are"
    return time_stages(config, stages, request.warmup, request.steps, request.random_tokens)
