"""The memory of the fullest device, and what would make it less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from custom_modules.text import table

if TYPE_CHECKING:
    from custom_modules.plan.plan import Plan, StagePlan


def render_memory(plan: Plan) -> Iterator[str]:
    """Tabulate the memory of each stage, then say whether it fits the chip."""
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
