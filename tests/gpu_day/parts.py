"""The parts of a GPU day, the most valuable first, and what each has to find."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from custom_modules.errors import EXIT_SAVED
from tests.gpu_day.day import ENGINE, PLAIN, Day, Failed, Found, Skipped
from tests.support.runs import read_metrics, worst_stretch

NEAR = 0.01
"""What losses may differ by, of the loss."""
MEMORY_NEAR = 0.15
"""What the memory of a full-size step may differ by from the plan, of the plan."""
TEXT = "data.input=[builtin/python,builtin/numpy,builtin/torch]"
"""7 MB, for 200 steps: where the `data` extra is not installed, all of it would not be encoded in time."""
PREPARE_TINY = (
    "import json, pathlib, sys; from tests.support.tiny import prepare; "
    "prepare(pathlib.Path(sys.argv[1]), 700, json.loads(sys.argv[2]))"
)


@dataclass(frozen=True)
class Part:
    """A part of the day."""

    name: str
    seconds: float
    """The part's share of a budget of `TOTAL` seconds; what earlier parts leave of theirs comes to it."""
    work: Callable[[Day], Found]


def doctor(day: Day) -> Found:
    """What the machine lacks fails nothing by itself: it is on the page when something else does."""
    diagnosis = json.loads(day.danube("doctor", "doctor", "--json", "--timeout=15", codes=(0, 2)).output)
    found = diagnosis["findings"]
    lacking = [one["check"] for one in found if one["state"] != "ok" and one["not_needed"] is None]
    return Found(f"lacks {', '.join(lacking)}" if lacking else "lacks nothing", {"findings": found})


def logits(day: Day) -> Found:
    day.need_engine()
    windows = map(str, day.machine.windows)
    done = day.program([*day.machine.python, "-m", "tests.gpu_day.logits", day.size, *windows], "logits")
    rows = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    figures = {"lengths": rows}
    if not rows or not all(row["are_small"] for row in rows):
        raise Failed("; ".join(row["said"] for row in rows if not row["are_small"]) or "nothing was compared", figures)
    worst = max(row["engine"] / row["local"] if row["local"] else 0.0 for row in rows)
    text = f"error of Transformer Engine's bf16 logits {worst:.2f} times the local layers' at most, {len(rows)} lengths"
    return Found(text, figures)


def data(day: Day) -> Found:
    if day.machine.shape:
        (day.folder / "work").mkdir(parents=True, exist_ok=True)
        words = [str(day.data.parent), json.dumps(day.machine.comparison)]
        day.program([*day.machine.python, "-c", PREPARE_TINY, *words], "data")
    else:
        words = ["--config-name", "danube_rehearsal", *day.machine.comparison, f"data.dir={day.data}", TEXT]
        day.danube("data", "prepare", *words)
    return Found("prepared for the runs that are compared")


def bf16(day: Day) -> Found:
    day.train(PLAIN, "bf16")
    _, losses = day.need(PLAIN)
    figures = {"first": losses[0], "last": losses[-1]}
    if losses[-1] > losses[0] - 0.1:
        raise Failed(f"loss {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} steps: nothing is learned", figures)
    return Found(f"loss {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} steps", figures)


def fp8(day: Day) -> Found:
    day.need_engine()
    day.train(ENGINE, "fp8", "model.fp8=hybrid")
    (_, ours), (_, theirs) = day.need(ENGINE), day.need(PLAIN)
    validation = [read_metrics(day.run_dir(name), "validation")[-1]["loss"] for name in (ENGINE, PLAIN)]
    worst, at_the_end = worst_stretch(ours, theirs), abs(validation[0] / validation[1] - 1)
    figures = {"losses": {ENGINE: ours, PLAIN: theirs}, "worst": worst, "validation": validation}
    text = (
        f"{len(ours)} steps: loss {ours[-1]:.4f} in FP8, {theirs[-1]:.4f} in bf16, at most {worst:.2%} apart; "
        f"validation {validation[0]:.4f} and {validation[1]:.4f}"
    )
    if max(worst, at_the_end) > NEAR:
        raise Failed(text, figures)
    return Found(text, figures)


def bench(day: Day, variant: str, number: int) -> Found:
    """One variant in one stage, by `danube bench`."""
    name, _, words = variant.partition(":")
    if "fp8=hybrid" in words:
        day.need_engine()
        if day.machine.accelerator == "cpu":
            raise Skipped("the processes that `danube bench` starts have no fake Transformer Engine")
    *options, stages = _cut(day.machine.full_size)
    stage = stages.split(",")[number]
    measure = ["--stages", stage, "--variant", variant, "--random-tokens", "--json", "--warmup=2", "--steps=3"]
    done = day.danube(f"bench_{name}_{stage}", "bench", *options, day.machine.here, *measure)
    (row,) = json.loads(done.output)["rows"]
    figures = row["figures"]
    if figures is None:
        raise Failed(row["advice"] or row["problem"], {"row": row})
    mfu = f", MFU {figures['mfu']:.1%}" if figures["mfu"] else ""
    text = (
        f"{stage}, {row['seq_length']:,} tokens a sequence: {figures['tokens_per_second_per_device']:,.0f} tokens/s, "
        f"{figures['tflops_per_device']:,.3g} TFLOP/s{mfu}, {figures['memory_bytes'] / 2**30:,.1f} GiB "
        f"({figures['memory_difference']:+.1%} of the plan), loader {figures['loader_share']:.2%}"
    )
    if day.size == "full" and abs(figures["memory_difference"]) > MEMORY_NEAR:
        raise Failed(text, {"row": row})
    return Found(text, {"row": row})


def _cut(words: tuple[str, ...]) -> list[str]:
    """Return arguments without ``--stages``, and its value behind them."""
    at = words.index("--stages")
    return [*words[:at], *words[at + 2 :], words[at + 1]]


def resume(day: Day) -> Found:
    """A run that is stopped in the middle goes on as the one that was not, as near as they were before the stop."""
    name, whole = day.need(ENGINE, PLAIN)
    words = ["model.fp8=hybrid"] if name == ENGINE else []
    shutil.rmtree(day.run_dir("resumed"), ignore_errors=True)
    half = day.machine.steps // 2
    day.train("resumed", "resume_stopped", *words, codes=(EXIT_SAVED,), stop_at=rf"step {half} ")
    log = day.train("resumed", "resume", *words).log
    if "resuming from" not in log:
        raise Failed("the second start did not go on from the first one's checkpoint")
    _, resumed = day.need("resumed")
    apart = [abs(one - other) for one, other in zip(resumed, whole, strict=True)]
    before, after = max(apart[:half]), max(apart[half:])
    figures = {"run": name, "before": before, "after": after}
    text = f"{name}: two runs {before:.2e} apart before the stop at step {half}, {after:.2e} after it, at most"
    if after > (NEAR * min(whole) if before else 0):
        raise Failed(text, figures)
    return Found(text, figures)


def export(day: Day) -> Found:
    name, _ = day.need(ENGINE, PLAIN)
    target = day.folder / "work" / "export"
    done = day.danube("export", "convert", "to-hf", str(day.run_dir(name)), str(target), "--overwrite", "--verify")
    said = [re.sub(r"^\d\d:\d\d:\d\d +", "", line) for line in done.log.splitlines()]
    compared = [line for line in said if line.startswith(("largest difference", "validation loss"))]
    if not compared:
        raise Failed("nothing was compared")
    return Found("; ".join(compared), {"run": name, "compared": compared})


BF16, FP8 = "bf16: trainer.precision=bf16-mixed model.fp8=null", "FP8: trainer.precision=bf16-mixed model.fp8=hybrid"

PARTS = (
    Part("doctor", 20, doctor),
    Part("logits", 50, logits),
    Part("data", 40, data),
    Part("bf16", 55, bf16),
    Part("fp8", 55, fp8),
    Part("bench FP8, first stage", 60, partial(bench, variant=FP8, number=0)),
    Part("bench FP8, last stage", 50, partial(bench, variant=FP8, number=1)),
    Part("bench bf16, first stage", 50, partial(bench, variant=BF16, number=0)),
    Part("bench bf16, last stage", 50, partial(bench, variant=BF16, number=1)),
    Part("resume", 70, resume),
    Part("export", 40, export),
)
TOTAL = sum(part.seconds for part in PARTS)
"""Seconds: 9 minutes."""
