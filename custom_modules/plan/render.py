"""A plan as text for people: aligned tables, and for every decision the numbers it comes from; or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from custom_modules.config.streams import STREAMS
from custom_modules.plan.phases import HEADER
from custom_modules.plan.precision import render_precisions
from custom_modules.plan.teachers import lines as teacher_lines
from custom_modules.text import as_yaml, decimal_bytes, table

if TYPE_CHECKING:
    from custom_modules.plan.duration import ReportedSpeed
    from custom_modules.plan.plan import Plan, StagePlan


def render_text(plan: Plan) -> str:
    """The plan, section by section."""
    sections = (_summary, _linears, _stages, _decisions, _compute, _memory, _disk, _data)
    return "\n\n".join("\n".join(section(plan)) for section in sections)


def as_json(plan: Plan) -> str:
    """The whole plan as one JSON object: field names as in `Plan`; tokens, bytes, FLOPs and hours unrounded."""
    return json.dumps(asdict(plan), indent=2, allow_nan=False)


def _fact(name: str, text: str) -> str:
    return f"  {name:<11} {text}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _decimal(value: float) -> str:
    """Write at most three decimals, none for a whole number."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def _significant(value: float) -> str:
    """Thousands separators above 100, three significant digits below."""
    return f"{value:,.1f}" if value >= 100 else f"{value:.3g}"


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours:,.0f} hours ({hours / 24:,.1f} days)"
    return f"{hours:,.1f} hours" if hours >= 1 else f"{_significant(hours * 3600)} seconds"


def _summary(plan: Plan) -> Iterator[str]:
    stages = _count(len(plan.stages), "stage")
    yield f"{plan.name}: {plan.total_tokens:,} tokens in {plan.total_steps:,} steps and {stages}"
    embeddings = plan.embedding_parameters + plan.head_parameters
    last_norm = plan.parameters - plan.num_layers * plan.layer_parameters - embeddings
    shared = f"{plan.embedding_parameters:,} (embedding, which is the head too)"
    apart = f"2 x {plan.embedding_parameters:,} (embedding, head)"
    yield _fact(
        "parameters",
        f"{plan.parameters:,} = {_count(plan.num_layers, 'layer')} x {plan.layer_parameters:,} "
        f"+ {apart if plan.head_parameters else shared} + {last_norm:,} (last norm)",
    )
    padding = f"padded to {plan.padded_vocab_size:,}, which makes {plan.padded_parameters:,} parameters"
    yield _fact(
        "vocabulary",
        f"{plan.vocab_size:,} rows, {padding if plan.padded_vocab_size > plan.vocab_size else 'no padding needed'}",
    )
    window = f"sliding window of {_count(plan.sliding_window, 'token')}" if plan.sliding_window else "no window"
    alibi = ", ALiBi" if plan.position_embedding_type == "alibi" else ""
    yield _fact("attention", f"causal, {window}{alibi}")
    interleaved = plan.virtual_pipeline_model_parallel_size is not None
    yield _fact("precision", plan.precision + (f", linears of the layers in FP8 ({plan.fp8})" if plan.fp8 else ""))
    yield _fact(
        "devices",
        f"{plan.world_size:,} (accelerator: {plan.accelerator}) = {_count(plan.num_nodes, 'node')} "
        f"x {plan.devices_per_node:,} = data parallel {plan.data_parallel_size:,}{' (FSDP)' if plan.fsdp else ''} "
        f"x tensor {plan.tensor_model_parallel_size:,} x pipeline {plan.pipeline_model_parallel_size:,}"
        + (f" ({plan.virtual_pipeline_model_parallel_size} chunks each)" if interleaved else "")
        + f" x context {plan.context_parallel_size:,}",
    )
    if plan.stop_after:
        yield _fact(
            "this run", f"stops at the end of {plan.stop_after} (curriculum.stage); the figures are for all stages"
        )


def _linears(plan: Plan) -> Iterator[str]:
    return render_precisions(plan.linears)


def _stages(plan: Plan) -> Iterator[str]:
    yield "Stages"
    header = [
        "stage",
        "length",
        "token budget",
        "steps",
        "up to token",
        "sequences/step",
        "micro-batch",
        "accumulation",
    ]
    rows = (
        (
            stage.name,
            f"{stage.seq_length:,}",
            f"{stage.token_budget:,}",
            f"{stage.steps:,}",
            f"{stage.end_tokens:,}",
            *_batch_cells(stage),
            f"{stage.first_learning_rate:.3e}",
            f"{stage.last_learning_rate:.3e}",
        )
        for stage in plan.stages
    )
    yield from table([*header, "first lr", "last lr"], rows)
    yield from _phases(plan)


def _batch_cells(stage: StagePlan) -> Iterator[str]:
    """Sequences of a step, micro-batch and accumulation: of the first phase to the last where the batch grows."""
    first, last = stage.phases[0], stage.phases[-1]
    for key in ("global_batch_size", "micro_batch_size", "num_microbatches"):
        ends = dict.fromkeys(f"{getattr(phase, key):,}" for phase in (first, last))
        yield " to ".join(ends)


def _phases(plan: Plan) -> Iterator[str]:
    """The phases of each stage whose batch grows."""
    growing = (stage for stage in plan.stages if stage.rampup_batch_tokens)
    rows = [phase.cells(stage.name) for stage in growing for phase in stage.phases]
    if rows:
        yield ""
        yield "Phases of the batch"
        yield from table(HEADER, rows)


def _decisions(plan: Plan) -> Iterator[str]:
    yield "What was decided, and why"
    for stage in plan.stages:
        if stage.rampup_batch_tokens:
            yield from _growth(stage)
            continue
        batch = stage.global_batch_tokens
        yield f"  {stage.name}: {stage.global_batch_size:,} sequences/step = {batch:,} tokens / {stage.seq_length:,}"
        yield (
            f"    accumulation {stage.num_microbatches:,} = {stage.global_batch_size:,} sequences "
            f"/ ({stage.micro_batch_size:,} a micro-batch x {plan.data_parallel_size:,} data parallel)"
        )
        yield f"    micro-batch {stage.micro_batch.explain()}"
        yield f"    {stage.steps:,} steps = {stage.token_budget:,} tokens / {batch:,}{_rounding(stage)}"
    yield from _distilled(plan)
    warmup = "no warm-up"
    if plan.warmup_tokens:
        warmup = f"warm-up over {plan.warmup_tokens:,} tokens = {_decimal(_steps_of(plan, plan.warmup_tokens))} steps"
    yield f"  learning rate: {warmup} to {plan.peak_learning_rate:g},"
    yield f"    then one cosine over all stages to {plan.min_learning_rate:g} at token {plan.total_tokens:,}"


def _distilled(plan: Plan) -> Iterator[str]:
    """Say what of the stages is distilled."""
    if plan.distilled_every is None:
        return
    each = ", ".join(f"{stage.distilled_tokens:,} tokens of {stage.name}" for stage in plan.stages)
    yield f"  distilled: one step in {plan.distilled_every} of a stage (distillation.every_n_batches): {each}"


def _growth(stage: StagePlan) -> Iterator[str]:
    """Say how a batch grows."""
    assert stage.rampup_batch_tokens is not None
    first, increment, tokens = stage.rampup_batch_tokens
    given = as_yaml(stage.rampup_batch_tokens)
    yield f"  {stage.name}: {_count(len(stage.phases), 'phase')} of model.rampup_batch_tokens={given}:"
    whole = f"{stage.global_batch_tokens:,} from token {tokens:,} of the run on"
    yield f"    {first:,} tokens/step, {increment:,} more at a time, {whole}"
    yield f"    micro-batch, at most {stage.micro_batch.explain()}"
    yield f"    {stage.steps:,} steps of all phases{_rounding(stage)}"


def _steps_of(plan: Plan, tokens: int) -> float:
    """Return the steps in which the run's first ``tokens`` are trained."""
    phases = [phase for stage in plan.stages for phase in stage.phases]
    reached = [(max(0, min(tokens, phase.end_tokens) - phase.start_tokens), phase) for phase in phases]
    return sum(trained / phase.global_batch_tokens for trained, phase in reached)


def _rounding(stage: StagePlan) -> str:
    if not stage.extra_tokens:
        return ""
    return f" = {_decimal(stage.exact_steps)}, rounded up: {stage.extra_tokens:,} tokens more than the budget"


def _compute(plan: Plan) -> Iterator[str]:
    yield "Compute, forward and backward: 6 FLOPs per token and matrix parameter (lm_head included, embedding not),"
    yield "and 12 x layers x query features x visible tokens for attention (causal mask and window counted exactly)"
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
    average = f"{plan.flops / plan.total_tokens:.3e}"
    rows.append(("all", "", average, f"{plan.flops:.3e}", *_speed(plan.tokens_per_second, plan.device_hours)))
    yield from table([*header, "tokens/s", "device-hours"] if plan.speed else header, rows)
    yield from _time(plan)


def _speed(tokens_per_second: float | None, device_hours: float | None) -> tuple[str, ...]:
    if tokens_per_second is None or device_hours is None:
        return ()
    return f"{tokens_per_second:,.0f}", _significant(device_hours)


def _time(plan: Plan) -> Iterator[str]:
    reported, speed = plan.reported, plan.speed
    if speed is None or plan.device_hours is None:
        yield _fact("time", "the peak of a CPU is not known: give --gpu, or set trainer.peak_tflops")
        return
    wall_clock = _duration(plan.device_hours / plan.world_size)
    yield _fact(
        "time",
        f"{_significant(plan.device_hours)} device-hours = FLOPs / ({speed.peak_flops / 1e12:,.1f} TFLOP/s "
        f"x MFU {speed.mfu:.1%}); {wall_clock} on {_count(plan.world_size, 'device')}",
    )
    yield _fact("peak", f"{speed.device}, dense bf16" if speed.memory_bytes else speed.device)
    yield from _prices(plan)
    if reported is None:
        yield _fact("MFU", "as given" if speed.mfu_is_given else "assumed, as the recipe has no `reported` speed")
        return
    if not reported.is_possible:
        yield _fact("MFU", "as given" if speed.mfu_is_given else "assumed, as the paper's own is above the peak")
        yield _fact("the paper", _impossible(reported))
        return
    yield _fact("MFU", "as given" if speed.mfu_is_given else "assumed: what the paper's throughput implies")
    yield _fact(
        "the paper",
        f"{reported.tokens_per_second:,.0f} tokens/s on {reported.gpus} x {reported.gpu} ({reported.section}), "
        f"{reported.tokens_per_second / reported.gpus:,.1f} a GPU: MFU {reported.mfu:.1%},",
    )
    yield _fact(
        "", f"or {reported.mfu_without_attention:.1%} by the rule of thumb of 6 x parameters, without attention"
    )


def _prices(plan: Plan) -> Iterator[str]:
    """Say what FP8 costs where it is, and what the run without it costs where it is not."""
    for price in plan.prices:
        how = f"in FP8 ({price.fp8})" if price.fp8 else "has no FP8: with model.fp8=null"
        days = _duration(price.device_hours / plan.world_size)
        yield _fact(
            "price",
            f"{price.device} {how} {_significant(price.device_hours)} device-hours, {days} on "
            f"{_count(plan.world_size, 'device')}, {price.memory / 2**30:,.1f} GiB a device at its fullest",
        )


def _impossible(reported: ReportedSpeed) -> str:
    """A report whose GPUs have not the FLOPs that its model and tokens come to."""
    said = f"{reported.days:g} days" if reported.days else f"{reported.tokens_per_second:,.0f} tokens/s"
    return (
        f"{said} on {reported.gpus} x {reported.gpu} ({reported.section}): {reported.flops:.3e} FLOPs are "
        f"{reported.mfu:.0%} of their bf16 peak over that time; at an MFU of 50% {reported.days_at_half:,.1f} days"
    )


def _memory(plan: Plan) -> Iterator[str]:
    largest = max(stage.memory.total for stage in plan.stages)
    unit, factor = ("GiB", 2**30) if largest >= 2**30 else ("MiB", 2**20)
    yield f"Memory of the fullest device in {unit}; optimizer {plan.optimizer}"
    header = ["stage", "weights", "gradients", "optimizer", "activations", "in a layer", "in the loss"]
    copied = any(stage.memory.update for stage in plan.stages)
    header += [*(["in the update"] if copied else []), "total"]
    pipelined = plan.pipeline_model_parallel_size > 1
    rows = []
    for stage in plan.stages:
        memory = stage.memory
        lasting = (memory.weights, memory.gradients, memory.optimizer, memory.activations)
        passing = (memory.layer_backward, memory.loss, *((memory.update,) if copied else ()))
        parts = (*lasting, *passing, memory.total)
        rank = (str(memory.pipeline_rank),) if pipelined else ()
        rows.append((stage.name, *(f"{part / factor:,.1f}" for part in parts), _recomputed(stage), *rank))
    header.append("recomputed")
    yield from table([*header, "pipeline rank"] if pipelined else header, rows)
    in_flight = ", as often as the pipeline has them in flight" if pipelined else ""
    chunk = f"; logits of {plan.cross_entropy_chunk_size:,} tokens at a time" if plan.cross_entropy_chunk_size else ""
    yield f"  Activations are kept for the backward pass{in_flight}. Beside them are, one after the other, the loss and"
    yield f"  every layer's backward pass: the total has the larger{chunk}. What is recomputed counts in no FLOPs."
    if copied:
        yield "  In the update megatron-core copies all bf16 gradients to fp32, in place of the activations."
    if plan.accelerator == "cpu":
        return
    yield "  By what Transformer Engine 2.11 saves, not measured on a GPU yet."
    if plan.speed and plan.speed.memory_bytes:
        yield from _fit(plan, plan.speed.device, plan.speed.memory_bytes)
    if plan.deterministic:
        yield "  trainer.deterministic: beside all this cuDNN's attention works in 0.3 GB for a sequence of 2,048,"
        yield "  in 17 GB for 16,384 tokens (Danube's heads; cuDNN 9.24 asked for an H100's kernels, without a GPU)."


def _recomputed(stage: StagePlan) -> str:
    recompute = stage.recompute
    if recompute.granularity == "full":
        return f"full, {recompute.method} {recompute.num_layers}"
    return ", ".join(recompute.modules) or "nothing"


def _fit(plan: Plan, device: str, capacity: int) -> Iterator[str]:
    outside = plan.memory_outside_torch
    room = f"the {capacity / 2**30:,.0f} GiB of {device}"
    assumed = f"{outside / 2**30:,.0f} GiB of it are taken to be CUDA's and NCCL's (assumed)"
    largest = max(stage.memory.total for stage in plan.stages) + outside
    if largest <= capacity:
        yield f"  By this estimate every stage fits {room}, and {(capacity - largest) / 2**30:,.1f} GiB are left;"
        yield f"  {assumed}."
        return
    full = [stage for stage in plan.stages if stage.memory.total + outside > capacity]
    yield f"  By this estimate {', '.join(stage.name for stage in full)} will not fit {room};"
    if not any(stage.remedies for stage in full):
        yield f"  {assumed}. Divide the model over more devices, or shorten the stage."
        return
    yield f"  {assumed}. By itself, the cheapest first:"
    for stage in full:
        for remedy in stage.remedies:
            fits = remedy.total + outside <= capacity
            total = f"{remedy.total / 2**30:,.1f} GiB{', fits' if fits else ''}"
            yield f"    {stage.name}  {' '.join(remedy.overrides)}: {total}; {remedy.cost}"
            if fits:
                break
        else:
            yield f"    {stage.name}  {_together(stage)}"


def _together(stage: StagePlan) -> str:
    if stage.together is None:
        return "all of them together do not fit: divide the model over more devices, or shorten the stage"
    return f"together {' '.join(stage.together.overrides)}: {stage.together.total / 2**30:,.1f} GiB, fits"


def _disk(plan: Plan) -> Iterator[str]:
    yield "Disk"
    yield _fact("checkpoint", f"{decimal_bytes(plan.checkpoint_bytes)}: weights, fp32 optimizer state")
    yield _fact(
        "run folder",
        f"{decimal_bytes((plan.checkpoints_kept + 1) * plan.checkpoint_bytes)} at most: "
        f"{_count(plan.checkpoints_kept, 'checkpoint')} kept, and one while it is written",
    )
    dtype = "uint16" if plan.token_bytes == 2 else "int32"
    yield _fact(
        "datasets",
        f"{decimal_bytes(plan.dataset_bytes)} if no token is read twice: {plan.token_bytes} bytes each ({dtype})",
    )
    for number, line in enumerate(teacher_lines(plan.teachers)):
        yield _fact("" if number else "teachers", line)


def _data(plan: Plan) -> Iterator[str]:
    prepared = plan.data
    yield f"Data: {prepared.problem}" if prepared.problem else f"Data of {prepared.manifest}"
    rows = []
    for stage in plan.stages:
        row = [stage.name, f"{stage.trained_tokens:,}", decimal_bytes(stage.dataset_bytes)]
        if data := prepared.stages.get(stage.name):
            epochs = "" if data.epochs is None else f"{data.epochs:,.3f}"
            short = f"enough but for {_count(data.beyond_epochs, 'sequence')}, which are read once more"
            row += [f"{data.tokens:,}", epochs, data.refused or (short if data.beyond_epochs else "enough")]
        rows.append(row)
    header = ["stage", "trained tokens", "dataset"]
    verdict = f"with data.max_epochs={as_yaml(plan.max_epochs)}"
    yield from table([*header, "prepared tokens", "epochs", verdict] if prepared.stages else header, rows)
    yield from (_fact("validation", problem) for problem in prepared.validation)
    yield from _sources(plan)
    yield from _needed(plan)


def _needed(plan: Plan) -> Iterator[str]:
    """Say how much text stages with a mix need of each source."""
    if plan.needed_tokens:
        names = [stage.name for stage in plan.stages]
        yield ""
        often = "" if plan.max_epochs == 1 else f", with data.max_epochs={as_yaml(plan.max_epochs)}"
        yield f"Training text that must be there, beside that for validation{often}"
        rows = []
        for source, stages in plan.needed_tokens.items():
            rows.append(_needed_row(source, names, stages))
            parts = plan.needed_by_stream.get(source, {})
            for stream in STREAMS if parts else ():
                own = {name: part[stream] for name, part in parts.items() if stream in part}
                rows.append(_needed_row(f"  {stream}", names, own))
        yield from table(["source", *names, "tokens in all"], rows)


def _needed_row(name: str, stages: Sequence[str], tokens: Mapping[str, int]) -> list[str]:
    return [name, *(f"{tokens[stage]:,}" if stage in tokens else "" for stage in stages), f"{sum(tokens.values()):,}"]


def _sources(plan: Plan) -> Iterator[str]:
    """For stages that mix several, say how much of each source is trained, and how often that reads it."""
    rows = []
    for stage in plan.stages:
        data = plan.data.stages.get(stage.name)
        found = data.sources if data else {}
        shares = {name: source.share for name, source in found.items()} or stage.mix or {}
        for name, share in shares.items() if len(shares) > 1 else ():
            row = [f"{stage.name} {name}", f"{share:.2%}", f"{share * stage.trained_tokens:,.0f}"]
            if source := found.get(name):
                row += [f"{source.tokens:,}", f"{source.epochs:,.3f}"]
            elif plan.data.stages:
                row += ["", ""]
            rows.append(row)
    if rows:
        header = ["source", "share", "trained tokens"]
        yield ""
        yield "Sources"
        yield from table([*header, "prepared tokens", "epochs"] if plan.data.stages else header, rows)
