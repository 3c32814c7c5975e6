"""`danube status` of a run on samples, conversations or pairs, from its folder. Needs no torch."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from custom_modules.cluster.status import RECENT, Job, jobs_of, last_points, logged
from custom_modules.config.dpo import DpoConfig
from custom_modules.config.load import validate, with_defaults
from custom_modules.config.sft import SFT, SftConfig
from custom_modules.plan.preference_plan import PreferencePlan, plan_preferences
from custom_modules.plan.sample_plan import SamplePlan, plan_samples
from custom_modules.run_folder.checkpoint_files import find_newest
from custom_modules.run_folder.metrics import METRICS
from custom_modules.run_folder.starts import read_starts
from custom_modules.text import human_duration


@dataclass(frozen=True)
class SampleStatus:
    """Where a run of SFT or DPO stands."""

    run_dir: str
    is_finished: bool
    step: int
    """Where its metrics or its checkpoints end, whichever is further."""
    steps: int | None
    """Of the whole run; None where nothing says how many samples there are."""
    samples: int
    """Trained on so far."""
    consumed_tokens: int
    loss: float | None
    preferences: dict[str, float] | None
    """Of the last log line of a DPO run."""
    validation_loss: float | None
    validation_preferences: dict[str, float] | None
    tokens_per_second: float | None
    """The mean of the last log lines."""
    eta_seconds: float | None
    """Seconds to the end of the run, by the tokens of a step so far."""
    checkpoint: str | None
    seconds_since_metrics: float | None
    """Since the last log line was written; below 0 where the clock that dated it is ahead of this machine's."""
    jobs: tuple[Job, ...]


def read_sample_status(run_dir: Path, plain: Mapping[str, Any]) -> SampleStatus:
    """Read the folder of a run of SFT or DPO.

    Args:
        plain: the config of its last start.

    Raises:
        UserError: its metrics cannot be read.
    """
    config: SftConfig | DpoConfig
    plan: SamplePlan | PreferencePlan | None
    if plain["kind"] == SFT:
        config = validate(with_defaults(plain), kind=SftConfig)
        plan = plan_samples(config)
    else:
        config = validate(with_defaults(plain), kind=DpoConfig)
        plan = plan_preferences(config)
    checkpoint, _ = find_newest(run_dir, verify_contents=False)
    train, validation = last_points(run_dir)
    last, evaluated = train[-1] if train else None, validation[-1] if validation else None
    step = max(checkpoint.step if checkpoint else 0, last.step if last else 0)
    tokens = max(checkpoint.consumed_tokens if checkpoint else 0, last.tokens if last else 0)
    speeds = [point.tokens_per_second for point in train[-RECENT:] if point.tokens_per_second]
    speed = sum(speeds) / len(speeds) if speeds else None
    is_finished = checkpoint is not None and checkpoint.is_stage_end
    steps = checkpoint.step if checkpoint is not None and is_finished else plan.steps if plan else None
    starts = read_starts(run_dir)
    return SampleStatus(
        run_dir=str(run_dir),
        is_finished=is_finished,
        step=step,
        steps=steps,
        samples=_samples(step, plan, config.model.global_batch_size),
        consumed_tokens=tokens,
        loss=last.loss if last else None,
        preferences=last.preferences if last else None,
        validation_loss=evaluated.loss if evaluated else None,
        validation_preferences=evaluated.preferences if evaluated else None,
        tokens_per_second=speed,
        eta_seconds=(steps - step) * tokens / step / speed if speed and steps and step else None,
        checkpoint=str(checkpoint.path) if checkpoint else None,
        seconds_since_metrics=time.time() - (run_dir / METRICS).stat().st_mtime if last else None,
        jobs=tuple(jobs_of(run_dir, starts[-1].job_id if starts else None)),
    )


def _samples(step: int, plan: SamplePlan | PreferencePlan | None, batch: int) -> int:
    """Return what so many steps have trained on: in a run of SFT the last step of an epoch has what is left."""
    if not isinstance(plan, SamplePlan):
        return step * batch
    epochs, steps = divmod(step, plan.steps_per_epoch)
    return epochs * plan.samples + steps * batch


def as_json(status: SampleStatus) -> str:
    """One JSON object, with the fields of `SampleStatus`."""
    return json.dumps(asdict(status), indent=2)


def render_status(status: SampleStatus) -> str:
    """A few lines for people."""
    share = f" of {status.steps:,} ({status.step / status.steps:.1%})" if status.steps else ""
    finished = ", finished" if status.is_finished else ""
    lines = [
        ("run", f"{status.run_dir}{finished}"),
        ("step", f"{status.step:,}{share}: {status.samples:,} samples, {status.consumed_tokens:,} tokens"),
    ]
    if status.loss is not None:
        lines.append(("training", _told(status.loss, status.preferences)))
    if status.validation_loss is not None:
        lines.append(("held out", _told(status.validation_loss, status.validation_preferences)))
    if status.tokens_per_second is not None:
        has_end = status.eta_seconds is not None and not status.is_finished
        left = f", {human_duration(status.eta_seconds)} left" if has_end and status.eta_seconds is not None else ""
        speed = f"{status.tokens_per_second:,.0f} tokens/s{left}, {logged(status.seconds_since_metrics or 0)}"
        lines.append(("speed", speed))
    lines.append(("checkpoint", status.checkpoint or "none yet"))
    lines += [("job", f"{job.id} {job.name} {job.state}: {job.detail}") for job in status.jobs]
    return "\n".join(f"{name:<11} {value}" for name, value in lines)


def _told(loss: float, preferences: Mapping[str, float] | None) -> str:
    more = {name: value for name, value in (preferences or {}).items() if name in ("accuracy", "margin")}
    return ", ".join(f"{name} {value:.4f}" for name, value in {"loss": loss, **more}.items())
