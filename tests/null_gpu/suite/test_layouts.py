"""Rank 0 of several, through the engine: every way to divide a model, over a process group that answers nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.null_gpu.environments import Environment
from tests.null_gpu.run import run_program

SMALL = [
    "trainer.accelerator=gpu",
    "trainer.precision=bf16-mixed",
    "model.num_layers=4",
    "model.hidden_size=1024",
    "model.ffn_hidden_size=2048",
    "model.num_attention_heads=16",
    "model.num_query_groups=8",
    "model.vocab_size=512",
    "model.micro_batch_tokens=1024",
    "model.global_batch_tokens=16384",
]
FP8 = ["model.fp8=hybrid"]
FSDP = ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16"]
SHARDED = ["model.optim.name=distributed_fused_adam"]
LAYOUTS = {
    "data_2": (2, FP8),
    "distributed_adam_8": (8, [*FP8, *SHARDED]),
    "distributed_adam_8_bf16_gradients": (8, [*FP8, *SHARDED, "model.optim.grad_sync_dtype=bf16"]),
    "fsdp_2": (2, [*FP8, *FSDP]),
    "fsdp_8_bf16": (8, FSDP),
    "tensor_2": (2, [*FP8, "model.tensor_model_parallel_size=2"]),
    "sequence_4": (4, [*FP8, "model.tensor_model_parallel_size=4", "model.sequence_parallel=true"]),
    "sequence_8_blockwise": (
        8,
        [*FP8, "model.fp8_recipe=blockwise", "model.tensor_model_parallel_size=8", "model.sequence_parallel=true"],
    ),
    "context_2": (2, [*FP8, "model.context_parallel_size=2"]),
    "context_4_a2a": (4, [*FP8, "model.context_parallel_size=4", "model.cp_comm_type=a2a"]),
    "pipeline_4": (4, [*FP8, "model.pipeline_model_parallel_size=4"]),
    "virtual_pipeline_2": (
        2,
        [*FP8, "model.pipeline_model_parallel_size=2", "model.virtual_pipeline_model_parallel_size=2"],
    ),
    "all_8": (
        8,
        [
            *FP8,
            *SHARDED,
            "model.tensor_model_parallel_size=2",
            "model.sequence_parallel=true",
            "model.pipeline_model_parallel_size=2",
        ],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_trains_and_has_a_checkpoint(environment: Environment, layout: str) -> None:
    size, overrides = LAYOUTS[layout]
    request: dict[str, Any] = {
        "config": "danube_rehearsal",
        "overrides": [*SMALL, f"trainer.devices={size}", *overrides],
        "stages": ["stage1", "stage4"],
        "steps": 2,
        "state": True,
    }
    found = run_program(environment, "rank", request)
    used_transformer_engine, *adams = found["kernels"]
    assert used_transformer_engine
    assert adams == ["torch" if "model.fsdp=true" in overrides else "transformer_engine"]
    fitting, others = found["moments"]
    assert fitting
    assert not others
    assert all(found["state"])
