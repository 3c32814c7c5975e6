"""FLOPs, and the time and the price that they come to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from custom_modules.plan.render.words import count, duration, fact, significant
from custom_modules.text import table

if TYPE_CHECKING:
    from custom_modules.plan.duration import ReportedSpeed
    from custom_modules.plan.plan import Plan


def render_compute(plan: Plan) -> Iterator[str]:
    """Tabulate the FLOPs of each stage, then say what time they take."""
    yield "Compute, forward and backward: 6 FLOPs per token and matrix parameter (lm_head included, embedding not),"
    counted = "causal mask and window counted exactly"
    if plan.reset_attention_mask and all(stage.seen for stage in plan.stages):
        counted = "causal mask, window and documents' ends counted"
    yield f"and 12 x layers x query features x visible tokens for attention ({counted})"
    header = ["stage", "visible tokens", "FLOPs/token", "FLOPs"]
    rows = [
        (
            stage.name,
            f"{stage.mean_visible_tokens:,.1f}",
            f"{stage.flops_per_token:.3e}",
            f"{stage.flops:.3e}",
            *_speed(stage.tokens_per_second, stage.device_hours),
        )
        for stage in plan.stages
    ]
    average = f"{(plan.flops - plan.scoring_flops) / plan.total_tokens:.3e}"
    rows.append(("all", "", average, f"{plan.flops:.3e}", *_speed(plan.tokens_per_second, plan.device_hours)))
    yield from table([*header, "tokens/s", "device-hours"] if plan.speed else header, rows)
    yield from _scoring(plan)
    yield from _tasks(plan)
    yield from _time(plan)


def _scoring(plan: Plan) -> Iterator[str]:
    """Say what of it goes to the choice among teachers' texts."""
    if plan.scoring_flops:
        hours = f", {significant(plan.scoring_flops / plan.speed.flops / 3600)} device-hours" if plan.speed else ""
        yield fact(
            "texts",
            f"{plan.scoring_flops:.3e} FLOPs{hours} of these, not among FLOPs/token nor in a logged MFU: "
            f"{plan.passes_over_texts} forward passes of each distilled sequence, without gradient, choose its text",
        )


def _tasks(plan: Plan) -> Iterator[str]:
    """Say what share of its time a run is scored on tasks."""
    if plan.tasks is None:
        return
    found = plan.tasks
    yield fact("tasks", f"{', '.join(found.tasks)} (trainer.evaluate), scored {count(found.times, 'time')}:")
    yield fact(
        "",
        f"at most {found.documents:,} documents, about {found.tokens:,} tokens by the mean of Danube's Table 1; "
        f"{found.share:.2%} of all FLOPs, in none of the above",
    )


def _speed(tokens_per_second: float | None, device_hours: float | None) -> tuple[str, ...]:
    if tokens_per_second is None or device_hours is None:
        return ()
    return f"{tokens_per_second:,.0f}", significant(device_hours)


def _time(plan: Plan) -> Iterator[str]:
    reported, speed = plan.reported, plan.speed
    if speed is None or plan.device_hours is None:
        yield fact("time", "the peak of a CPU is not known: give --gpu, or set trainer.peak_tflops")
        return
    wall_clock = duration(plan.device_hours / plan.world_size)
    yield fact(
        "time",
        f"{significant(plan.device_hours)} device-hours = FLOPs / ({speed.peak_flops / 1e12:,.1f} TFLOP/s "
        f"x MFU {speed.mfu:.1%}); {wall_clock} on {count(plan.world_size, 'device')}",
    )
    yield fact("peak", f"{speed.device}, dense bf16" if speed.memory_bytes else speed.device)
    yield from _prices(plan)
    if reported is None:
        yield fact("MFU", "as given" if speed.mfu_is_given else "assumed, as the recipe has no `reported` speed")
        return
    if not reported.is_possible:
        yield fact("MFU", "as given" if speed.mfu_is_given else "assumed, as the paper's own is above the peak")
        yield fact("the paper", _impossible(reported))
        return
    yield fact("MFU", "as given" if speed.mfu_is_given else "assumed: what the paper's throughput implies")
    yield fact(
        "the paper",
        f"{reported.tokens_per_second:,.0f} tokens/s on {reported.gpus} x {reported.gpu} ({reported.section}), "
        f"{reported.tokens_per_second / reported.gpus:,.1f} a GPU: MFU {reported.mfu:.1%},",
    )
    yield fact("", f"or {reported.mfu_without_attention:.1%} by the rule of thumb of 6 x parameters, without attention")


def _prices(plan: Plan) -> Iterator[str]:
    """Say what FP8 costs where it is, and what the run without it costs where it is not."""
    for price in plan.prices:
        how = f"in FP8 ({price.fp8})" if price.fp8 else "has no FP8: with model.fp8=null"
        days = duration(price.device_hours / plan.world_size)
        yield fact(
            "price",
            f"{price.device} {how} {significant(price.device_hours)} device-hours, {days} on "
            f"{count(plan.world_size, 'device')}, {price.memory / 2**30:,.1f} GiB a device at its fullest",
        )


def _impossible(reported: ReportedSpeed) -> str:
    """A report whose GPUs have not the FLOPs that its model and tokens come to."""
    said = f"{reported.days:g} days" if reported.days else f"{reported.tokens_per_second:,.0f} tokens/s"
    return (
        f"{said} on {reported.gpus} x {reported.gpu} ({reported.section}): {reported.flops:.3e} FLOPs are "
        f"{reported.mfu:.0%} of their bf16 peak over that time; at an MFU of 50% {reported.days_at_half:,.1f} days"
    )
