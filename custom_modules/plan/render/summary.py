"""What the model, the devices and the whole run are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from custom_modules.plan.render.words import count, fact

if TYPE_CHECKING:
    from custom_modules.plan.plan import Plan


def render_summary(plan: Plan) -> Iterator[str]:
    """Say what the model, its precision and its devices are."""
    stages = count(len(plan.stages), "stage")
    yield f"{plan.name}: {plan.total_tokens:,} tokens in {plan.total_steps:,} steps and {stages}"
    embeddings = plan.embedding_parameters + plan.head_parameters
    last_norm = plan.parameters - plan.num_layers * plan.layer_parameters - embeddings
    shared = f"{plan.embedding_parameters:,} (embedding, which is the head too)"
    apart = f"2 x {plan.embedding_parameters:,} (embedding, head)"
    yield fact(
        "parameters",
        f"{plan.parameters:,} = {count(plan.num_layers, 'layer')} x {plan.layer_parameters:,} "
        f"+ {apart if plan.head_parameters else shared} + {last_norm:,} (last norm)",
    )
    padding = f"padded to {plan.padded_vocab_size:,}, which makes {plan.padded_parameters:,} parameters"
    yield fact(
        "vocabulary",
        f"{plan.vocab_size:,} rows, {padding if plan.padded_vocab_size > plan.vocab_size else 'no padding needed'}",
    )
    window = f"sliding window of {count(plan.sliding_window, 'token')}" if plan.sliding_window else "no window"
    alibi = ", ALiBi" if plan.position_embedding_type == "alibi" else ""
    inside = ", inside documents" if plan.reset_attention_mask else ""
    yield fact("attention", f"causal, {window}{alibi}{inside}")
    interleaved = plan.virtual_pipeline_model_parallel_size is not None
    yield fact("precision", plan.precision + (f", linears of the layers in FP8 ({plan.fp8})" if plan.fp8 else ""))
    yield fact(
        "devices",
        f"{plan.world_size:,} (accelerator: {plan.accelerator}) = {count(plan.num_nodes, 'node')} "
        f"x {plan.devices_per_node:,} = data parallel {plan.data_parallel_size:,}{' (FSDP)' if plan.fsdp else ''} "
        f"x tensor {plan.tensor_model_parallel_size:,} x pipeline {plan.pipeline_model_parallel_size:,}"
        + (f" ({plan.virtual_pipeline_model_parallel_size} chunks each)" if interleaved else "")
        + f" x context {plan.context_parallel_size:,}",
    )
    if plan.stop_after:
        yield fact(
            "this run", f"stops at the end of {plan.stop_after} (curriculum.stage); the figures are for all stages"
        )
