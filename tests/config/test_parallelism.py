"""Parallel sizes that do not fit one another: refused with the key, its value and what would work."""

from __future__ import annotations

import pytest

from custom_modules.config.load import load_config
from custom_modules.errors import UserError

TENSOR, PIPELINE, CHUNKS = (f"model.{name}_model_parallel_size" for name in ("tensor", "pipeline", "virtual_pipeline"))
NO_MULTIPLE = [
    "model.global_batch_tokens=1_081_344",
    "trainer.devices=4",
    "curriculum.stages.stage1.micro_batch_size=3",
]
"""In stage 1 each of 2 data-parallel ranks has 528 / (2 x 3) = 88 micro-batches; in stage 4, 66 / 2 = 33."""

REFUSED = [
    ([f"{TENSOR}=3"], f"{TENSOR}=3", "divisor of 32"),
    ([f"{TENSOR}=16", "trainer.devices=16"], f"{TENSOR}=16", "model.num_query_groups=8; use a divisor of 8"),
    (["model.ffn_hidden_size=6911", f"{TENSOR}=2"], f"{TENSOR}=2", "model.ffn_hidden_size=6911"),
    (["trainer.devices=3", f"{TENSOR}=2"], "trainer.devices=3", "use 2 or 4"),
    ([f"{PIPELINE}=5"], f"{PIPELINE}=5", "divisor of 24"),
    (["model.sequence_parallel=true"], "model.sequence_parallel=true", f"set {TENSOR} above 1"),
    (
        ["model.sequence_parallel=true", f"{TENSOR}=2", "model.encoder_seq_length=9"],
        "model.sequence_parallel=true",
        "8 or 10",
    ),
    (["model.context_parallel_size=2", "model.encoder_seq_length=18"], "model.context_parallel_size=2", "16 or 20"),
    (
        ["model.context_parallel_size=2", "model.sequence_parallel=true", f"{TENSOR}=4", "model.encoder_seq_length=36"],
        "model.sequence_parallel=true",
        "18 tokens on each of its ranks; use a length of 32 or 40",
    ),
    (["model.context_parallel_size=2", "model.cp_comm_type=p2p"], "model.cp_comm_type=p2p", "use all_gather or a2a"),
    (
        ["model.context_parallel_size=4", "model.cp_comm_type=a2a", f"{TENSOR}=4", "trainer.devices=16"],
        "model.cp_comm_type=a2a",
        "the 2 query groups of a device",
    ),
    (["model.context_parallel_size=3"], "trainer.devices=8", "context parallel = 3; use 6 or 9"),
    ([f"{CHUNKS}=2"], f"{CHUNKS}=2", f"set {PIPELINE} above 1, or {CHUNKS}=null"),
    ([f"{PIPELINE}=4", f"{CHUNKS}=4"], f"{CHUNKS}=4", "the 6 layers of a pipeline rank; use a divisor of 6"),
    (
        [f"{PIPELINE}=2", f"{CHUNKS}=2", "model.overlap_p2p_comm=false"],
        "model.overlap_p2p_comm=false",
        "overlap_p2p_comm=true",
    ),
    ([*NO_MULTIPLE, f"{PIPELINE}=2", f"{CHUNKS}=2"], f"{CHUNKS}=2", "stage4 has 33 on each device"),
]


FSDP = ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16"]
REFUSED += [
    (["model.fsdp=true"], "model.fsdp=true", "model.optim.grad_sync_dtype=bf16"),
    ([*FSDP, f"{TENSOR}=2"], "model.fsdp=true", f"not together with {TENSOR}=2"),
    ([*FSDP, f"{PIPELINE}=2"], "model.fsdp=true", f"not together with {PIPELINE}=2"),
    ([*FSDP, "model.optim.name=distributed_fused_adam"], "model.fsdp=true", "set model.optim.name=adamw"),
    ([*FSDP, "trainer.devices=9"], "model.fsdp=true", "9 ranks (data x context parallel) do not divide model.hidden"),
]


@pytest.mark.parametrize(("overrides", "names", "works"), REFUSED)
def test_refused(overrides: list[str], names: str, works: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("danube_1_8b", overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{names}: ")
    assert works in message


@pytest.mark.parametrize(
    "overrides",
    [
        [f"{TENSOR}=8", "model.sequence_parallel=true"],
        ["model.context_parallel_size=4", "model.cp_comm_type=a2a", f"{TENSOR}=2"],
        ["model.context_parallel_size=2", "model.cp_comm_type=p2p", "model.sliding_window=null"],
        ["model.context_parallel_size=3", "trainer.devices=6", "model.encoder_seq_length=3072"],
        [f"{PIPELINE}=4", f"{CHUNKS}=6"],
        [f"{PIPELINE}=4", f"{CHUNKS}=3", "model.overlap_p2p_comm=false"],
        [*NO_MULTIPLE, f"{PIPELINE}=2"],
        [f"{PIPELINE}=2", f"{CHUNKS}=1"],
        ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16", "model.context_parallel_size=2"],
        ["model.fsdp=true", "trainer.precision=32-true", "model.fp8=null"],
    ],
)
def test_what_the_advice_leads_to_is_accepted(overrides: list[str]) -> None:
    load_config("danube_1_8b", overrides)


def test_one_chunk_is_none() -> None:
    assert load_config("danube_1_8b", [f"{CHUNKS}=1"]).model.virtual_pipeline_model_parallel_size is None


def test_interleaved_stages_have_multiples_of_the_pipelines_micro_batches() -> None:
    """A later stage takes the largest micro-batch up to model.micro_batch_size that leaves such a multiple."""
    from custom_modules.config.stages import Curriculum

    overrides = [f"{PIPELINE}=2", "trainer.devices=4", "model.global_batch_tokens=1_048_576"]
    overrides += ["model.micro_batch_size=4", "curriculum.stages.stage1.micro_batch_size=1"]
    last = []
    for chunks in ("null", "2"):
        config = load_config("danube_1_8b", [*overrides, f"{CHUNKS}={chunks}", "model.encoder_seq_length=131072"])
        stage = Curriculum.from_config(config).stages[1]
        last.append((stage.micro_batch_size, stage.num_microbatches))
    assert last == [(4, 1), (2, 2)]
