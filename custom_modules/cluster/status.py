"""`danube status`: how far a run is, from its folder and, where there is a Slurm, from its job. Needs no torch."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from custom_modules.config.load import validate, with_defaults
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.programs import ask
from custom_modules.run_folder.checkpoint_files import find_newest
from custom_modules.run_folder.metrics import METRICS, TrainMetrics, ValidationMetrics, read_metrics
from custom_modules.run_folder.rollbacks import read_rollbacks
from custom_modules.run_folder.run_config import read_run_config
from custom_modules.run_folder.starts import read_starts
from custom_modules.text import human_duration

RECENT = 10


@dataclass(frozen=True)
class Job:
    """One job of Slurm's queue."""

    id: int
    name: str
    state: str
    detail: str
    """Why it waits, or where it runs and how long it may."""


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands."""

    run_dir: str
    stage: str
    """The stage of the next step; of the last one if the run is finished."""
    is_finished: bool
    consumed_tokens: int
    """Where its metrics or its checkpoints end, whichever is further."""
    stage_end_tokens: int
    global_batch_tokens: int
    """Tokens of the next step."""
    num_microbatches: int
    """The phase's gradient accumulation, on as many devices as the last start had."""
    phase: int
    """Which of the stage's phases it is in, from 1."""
    phases: int
    """How many the stage has; 1 where its batch does not grow."""
    phase_steps: int
    """The steps of that phase."""
    phase_end_tokens: int
    total_tokens: int
    step: int
    loss: float | None
    validation_loss: float | None
    tokens_per_second: float | None
    """The mean of the last log lines."""
    eta_seconds: float | None
    """Seconds to the end of the curriculum, at that speed."""
    checkpoint: str | None
    checkpoint_tokens: int | None
    seconds_since_metrics: float | None
    """Since the last log line was written; below 0 where the clock that dated it is ahead of this machine's."""
    restarts: int
    """How often the last job under Slurm was restarted."""
    rollbacks: int
    """How often the run went back from a loss spike."""
    last_rollback: str | None
    """From where to where, and why."""
    jobs: tuple[Job, ...]


def read_status(run_dir: Path) -> RunStatus:
    """Read a run's folder, and ask Slurm for its jobs.

    Raises:
        UserError: not a run's folder, or one whose metrics cannot be read.
    """
    plain = read_run_config(run_dir)
    if plain is None:
        raise UserError(f"{run_dir}: no run has started there; give exp_manager.exp_dir/name of one")
    curriculum = Curriculum.from_config(validate(with_defaults(plain)))
    checkpoint, _ = find_newest(run_dir, verify_contents=False)
    train, validation = last_points(run_dir)
    last = train[-1] if train else None
    consumed = max(checkpoint.consumed_tokens if checkpoint else 0, last.tokens if last else 0)
    stage = curriculum.at(consumed)
    phases = (stage or curriculum.stages[-1]).phases
    phase = next((phase for phase in phases if consumed < phase.end_tokens), phases[-1])
    speeds = [point.tokens_per_second for point in train[-RECENT:] if point.tokens_per_second]
    speed = sum(speeds) / len(speeds) if speeds else None
    starts = read_starts(run_dir)
    rollbacks = read_rollbacks(run_dir)
    return RunStatus(
        run_dir=str(run_dir),
        stage=(stage or curriculum.stages[-1]).name,
        is_finished=stage is None,
        consumed_tokens=consumed,
        stage_end_tokens=(stage or curriculum.stages[-1]).end_tokens,
        global_batch_tokens=phase.global_batch_tokens,
        num_microbatches=phase.num_microbatches,
        phase=phases.index(phase) + 1,
        phases=len(phases),
        phase_steps=phase.steps,
        phase_end_tokens=phase.end_tokens,
        total_tokens=curriculum.total_tokens,
        step=max(checkpoint.step if checkpoint else 0, last.step if last else 0),
        loss=last.loss if last else None,
        validation_loss=validation[-1].loss if validation else None,
        tokens_per_second=speed,
        eta_seconds=(curriculum.total_tokens - consumed) / speed if speed else None,
        checkpoint=str(checkpoint.path) if checkpoint else None,
        checkpoint_tokens=checkpoint.consumed_tokens if checkpoint else None,
        seconds_since_metrics=time.time() - (run_dir / METRICS).stat().st_mtime if last else None,
        restarts=starts[-1].restart if starts else 0,
        rollbacks=len(rollbacks),
        last_rollback=rollbacks[-1].describe() if rollbacks else None,
        jobs=tuple(jobs_of(run_dir, starts[-1].job_id if starts else None)),
    )


def last_points(run_dir: Path) -> tuple[tuple[TrainMetrics, ...], tuple[ValidationMetrics, ...]]:
    """Training and validation records; none if the run has not logged yet."""
    records = read_metrics(run_dir) if os.path.lexists(run_dir / METRICS) else []
    by_tokens = sorted(records, key=lambda record: record.tokens)
    train = tuple(record for record in by_tokens if isinstance(record, TrainMetrics))
    return train, tuple(record for record in by_tokens if isinstance(record, ValidationMetrics))


def jobs_of(run_dir: Path, last_job: int | None) -> list[Job]:
    """Queued and running jobs that `slurm/curriculum.sh` submitted for the run, and the one that started last."""
    fields = "%i|%j|%T|%R|%L|%k"
    queue = _ask(["squeue", "--noheader", "--all", f"--format={fields}"])
    jobs = []
    for line in (queue or "").splitlines():
        number, name, state, where, left, comment = line.split("|", 5)
        if number.isdigit() and (int(number) == last_job or comment == str(run_dir.absolute())):
            running = f"on {where}, {left} left"
            jobs.append(Job(int(number), name, state, running if state == "RUNNING" else where.strip("()")))
    if queue is not None and last_job is not None and last_job not in [job.id for job in jobs]:
        ended = dict(re.findall(r"(\w+)=(\S*)", _ask(["scontrol", "--oneliner", "show", "job", str(last_job)]) or ""))
        detail = f"exit code {ended['ExitCode']}" if "ExitCode" in ended else "Slurm no longer knows it"
        jobs.append(Job(last_job, ended.get("JobName", ""), ended.get("JobState", "ENDED"), detail))
    return sorted(jobs, key=lambda job: job.id)


def _ask(command: list[str]) -> str | None:
    """What a command of Slurm's prints; None where there is no Slurm or it does not answer."""
    answer = ask(command, timeout=10)
    return None if answer.problem else answer.output


def as_json(status: RunStatus) -> str:
    """One JSON object, with the fields of `RunStatus`."""
    return json.dumps(asdict(status), indent=2)


def render_status(status: RunStatus) -> str:
    """A few lines for people."""
    done = status.consumed_tokens / status.total_tokens
    lines = [
        ("run", status.run_dir),
        (
            "stage",
            f"{status.stage}, finished"
            if status.is_finished
            else f"{status.stage}, to {status.stage_end_tokens:,} tokens",
        ),
        ("tokens", f"{status.consumed_tokens:,} of {status.total_tokens:,} ({done:.1%}), step {status.step:,}"),
    ]
    if status.phases > 1:
        lines.append(
            (
                "batch",
                f"phase {status.phase} of {status.phases}: {status.global_batch_tokens:,} tokens a step, accumulation "
                f"{status.num_microbatches:,}, {status.phase_steps:,} steps to {status.phase_end_tokens:,} tokens",
            )
        )
    if status.loss is not None:
        validation = "" if status.validation_loss is None else f", validation {status.validation_loss:.4f}"
        lines.append(("loss", f"{status.loss:.4f}{validation}"))
    if status.tokens_per_second is not None and status.eta_seconds is not None:
        left = "" if status.is_finished else f", {human_duration(status.eta_seconds)} left"
        when = logged(status.seconds_since_metrics or 0)
        lines.append(("speed", f"{status.tokens_per_second:,.0f} tokens/s{left}, {when}"))
    lines.append(("checkpoint", status.checkpoint or "none yet"))
    if status.last_rollback is not None:
        lines.append(("rollbacks", f"{status.rollbacks}, the last {status.last_rollback}"))
    for job in status.jobs:
        lines.append(("job", f"{job.id} {job.name} {job.state}: {job.detail}"))
    if status.restarts:
        lines.append(("restarts", f"{status.restarts} of the last job"))
    return "\n".join(f"{name:<11} {value}" for name, value in lines)


def logged(seconds_ago: float) -> str:
    """Say when the last log line was written."""
    if round(seconds_ago) >= 0:
        return f"logged {human_duration(seconds_ago)} ago"
    return f"logged {human_duration(-seconds_ago)} ahead of this machine's clock, so one of the clocks is wrong"
