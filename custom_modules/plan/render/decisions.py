"""What was decided, with the numbers that each decision comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from custom_modules.plan.render.words import count, decimal
from custom_modules.text import as_yaml

if TYPE_CHECKING:
    from custom_modules.plan.plan import Plan, StagePlan


def render_decisions(plan: Plan) -> Iterator[str]:
    """Say how each stage's batch and steps, and the learning rate, came about."""
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
    yield from _documents(plan)
    warmup = "no warm-up"
    if plan.warmup_tokens:
        warmup = f"warm-up over {plan.warmup_tokens:,} tokens = {decimal(_steps_of(plan, plan.warmup_tokens))} steps"
    yield f"  learning rate: {warmup} to {plan.peak_learning_rate:g},"
    yield f"    then one cosine over all stages to {plan.min_learning_rate:g} at token {plan.total_tokens:,}"


def _distilled(plan: Plan) -> Iterator[str]:
    """Say what of the stages is distilled."""
    if plan.distilled_every is None:
        return
    each = ", ".join(f"{stage.distilled_tokens:,} tokens of {stage.name}" for stage in plan.stages)
    yield f"  distilled: one step in {plan.distilled_every} of a stage (distillation.every_n_batches): {each}"


def _documents(plan: Plan) -> Iterator[str]:
    """Say what the ends of documents mean."""
    meanings = {
        "documents do not see each other (data.reset_attention_mask)": plan.reset_attention_mask,
        "positions begin anew with each document (data.reset_position_ids)": plan.reset_position_ids,
        "what follows a document's end is not learnt (data.eod_mask_loss)": plan.eod_mask_loss,
    }
    if not any(meanings.values()):
        return
    yield from (f"  {meaning}" for meaning, is_so in meanings.items() if is_so)
    for stage in plan.stages:
        if seen := stage.seen:
            attention = f"; attention sees {seen.share:.1%} of the pairs" if plan.reset_attention_mask else ""
            loss = f"; {seen.ends:.2%} of the tokens count in no loss" if plan.eod_mask_loss else ""
            drawn = f"{stage.seq_length:,} tokens are of {seen.documents:,.1f} documents on average"
            yield f"    {stage.name}: {drawn}{attention}{loss}"
    if unknown := [stage.name for stage in plan.stages if stage.seen is None]:
        counted = "; FLOPs are counted as if they saw each other" if plan.reset_attention_mask else ""
        yield f"    {', '.join(unknown)}: no prepared data says how long documents are{counted}"


def _growth(stage: StagePlan) -> Iterator[str]:
    """Say how a batch grows."""
    assert stage.rampup_batch_tokens is not None
    first, increment, tokens = stage.rampup_batch_tokens
    given = as_yaml(stage.rampup_batch_tokens)
    yield f"  {stage.name}: {count(len(stage.phases), 'phase')} of model.rampup_batch_tokens={given}:"
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
    return f" = {decimal(stage.exact_steps)}, rounded up: {stage.extra_tokens:,} tokens more than the budget"
