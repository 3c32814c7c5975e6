"""What was measured, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from custom_modules.bench.row import Figures, Row
from custom_modules.text import table


def as_json(rows: Sequence[Row], averages: Mapping[str, float | None], warmup: int) -> str:
    """One JSON object: ``rows`` with the fields of `Row`, unrounded; ``averages``: tokens/s over all stages by variant,
    null where not every stage was measured; ``warmup``: steps that were not counted."""
    return json.dumps({"warmup": warmup, "rows": [row.as_dict() for row in rows], "averages": averages}, indent=2)


def render(rows: Sequence[Row], averages: Mapping[str, float | None], warmup: int) -> Iterator[str]:
    """A table per stage, or per phase of one whose batch grows; a line per variant."""
    for stage in dict.fromkeys(row.stage for row in rows):
        for phase in sorted({row.phase for row in rows if row.stage == stage}):
            yield from _phase([row for row in rows if (row.stage, row.phase) == (stage, phase)], warmup)
            yield ""
    measured = [row.figures for row in rows if row.figures]
    if any(averages.values()):
        yield "All stages, each for as long as it is trained"
        yield from table(["variant", "tokens/s"], [(name, f"{rate:,.0f}") for name, rate in averages.items() if rate])
        yield ""
    yield "tokens/s: of all devices, by the median step. TFLOP/s and MFU: of a device, forward and backward, with the"
    yield "  causal mask and the window counted; MFU against the dense bf16 peak. memory: of the fullest process;"
    yield "  plan: what `danube plan` counts of it. loader: the share of a step that waits for batches."
    if any(figures.device == "CPU" for figures in measured):
        yield "  On a CPU, memory is what the process grew by, and trainer.peak_tflops gives the peak."
    if any(figures.reported_tokens_per_second_per_device for figures in measured):
        yield "  report: tokens/s of a GPU, on average over all stages (`reported` in the recipe)."


def _phase(rows: Sequence[Row], warmup: int) -> Iterator[str]:
    yield f"{rows[0].stage}: {' or '.join(dict.fromkeys(map(_size, rows)))}"
    measured = [row.figures for row in rows if row.figures]
    what = "samples" if rows[0].is_padded else "windows"
    if measured:
        devices = ", ".join(dict.fromkeys(f"{row.processes} x {row.figures.device}" for row in rows if row.figures))
        data = " and ".join(dict.fromkeys(figures.data for figures in measured))
        steps = len(measured[0].step_seconds)
        yield f"  {devices}; {data} {what}; {steps} step(s) after {warmup} to warm up"
    header = ["variant", "tokens/s", "slowest to fastest", "a device", "TFLOP/s", "MFU"]
    header += ["memory", "plan", "off by", "loader"]
    reported = any(figures.reported_tokens_per_second_per_device for figures in measured)
    lines = [(row.variant, *_cells(row.figures, reported)) for row in rows if row.figures]
    if lines:
        yield from table([*header, "report"] if reported else header, lines)
    for row in rows:
        if row.problem:
            yield f"  {row.variant}: {row.problem}"


def _size(row: Row) -> str:
    size = f"{row.seq_length:,} tokens a sequence, {row.global_batch_tokens:,} tokens a step"
    if row.is_padded:
        size = f"up to {row.seq_length:,} tokens a sample, {row.global_batch_tokens:,} tokens a step on average"
    if row.phases == 1:
        return size
    accumulation = f"accumulation {row.num_microbatches:,} of micro-batch {row.micro_batch_size:,}"
    return f"phase {row.phase} of {row.phases}, {row.steps:,} steps: {size}, {accumulation}"


def _cells(figures: Figures, reported: bool) -> tuple[str, ...]:
    report = figures.reported_tokens_per_second_per_device
    return (
        f"{figures.tokens_per_second:,.0f}",
        f"{figures.slowest_tokens_per_second:,.0f} to {figures.fastest_tokens_per_second:,.0f}",
        f"{figures.tokens_per_second_per_device:,.0f}",
        f"{figures.tflops_per_device:,.4g}",
        f"{figures.mfu:.1%}" if figures.mfu is not None else "unknown",
        binary(figures.memory_bytes),
        binary(figures.planned_memory_bytes),
        f"{figures.memory_difference:+,.0%}",
        f"{figures.loader_share:.2%}",
        *((f"{report:,.0f}" if report else "",) if reported else ()),
    )


def binary(size: int) -> str:
    """Write a size in MiB, or GiB."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
