"""Bytes on a device and on disk."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.curriculum.memory import (
    DeviceMemory,
    activation_bytes_per_token,
    checkpoint_bytes,
    fullest_device,
    layers_in_flight,
    token_bytes,
)
from custom_modules.curriculum.stages import Curriculum

N = 1_831_201_280
NORMS = (2 * 24 + 1) * 2560
LINEARS = N - NORMS - 2 * 32_000 * 2560


def memory_of(*overrides: str, name: str = "danube_1_8b", stage: int = 0) -> DeviceMemory:
    config = load_config(name, overrides)
    return fullest_device(config, Curriculum.from_config(config).stages[stage])


def test_a_full_copy_in_bf16() -> None:
    memory = memory_of("model.fp8=null")
    assert (memory.weights, memory.gradients, memory.optimizer) == (2 * N, 4 * N, 12 * N)
    assert memory.logits == 2048 * 32_000 * (2 + 4)


def test_fp8_keeps_copies_of_the_linears() -> None:
    assert memory_of().weights == 2 * N + 2 * LINEARS


def test_fp32_needs_no_master_copy() -> None:
    memory = memory_of("model.fp8=null", "trainer.precision=32-true")
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * N, 4 * N, 8 * N)
    assert memory.logits == 2048 * 32_000 * 4


def test_gradients_are_as_wide_as_they_are_reduced() -> None:
    assert memory_of("model.optim.grad_sync_dtype=bf16").gradients == 2 * N


def test_fsdp_divides_weights_gradients_and_optimizer() -> None:
    memory = memory_of("model.fsdp=true", "model.optim.grad_sync_dtype=bf16", "model.fp8=null")
    assert (memory.gradients, memory.optimizer) == (2 * N // 8, 12 * N // 8)
    gathered = 2 * (LINEARS + 24 * 2 * 2560) // 24 + 32_000 * 2560 + 2560
    assert memory.weights == 2 * N // 8 + 2 * gathered


def test_the_distributed_optimizer_is_shared_by_the_data_parallel_ranks() -> None:
    memory = memory_of("model.optim.name=distributed_fused_adam", "model.fp8=null")
    assert (memory.weights, memory.gradients, memory.optimizer) == (2 * N, 4 * N, 12 * N // 8)


def test_tensor_parallelism_splits_all_but_the_norms() -> None:
    memory = memory_of("model.tensor_model_parallel_size=8", "model.fp8=null", "model.vocab_size=32768")
    parameters = (LINEARS + 2 * 32_768 * 2560) // 8 + NORMS
    assert (memory.weights, memory.gradients) == (2 * parameters, 4 * parameters)
    assert memory.logits == 2048 * 32_768 // 8 * 6


def test_sequence_parallelism_splits_what_tensor_parallelism_leaves_whole() -> None:
    tensor = ["model.tensor_model_parallel_size=2", "model.fp8=null"]
    apart, whole = memory_of(*tensor, "model.sequence_parallel=true"), memory_of(*tensor)
    assert whole.activations - apart.activations == 2048 * (24 * 4 + 2) * 2560 // 2 * 2
    assert (apart.weights, apart.optimizer, apart.logits) == (whole.weights, whole.optimizer, whole.logits)


def test_context_parallelism_splits_the_tokens_and_the_distributed_optimizer() -> None:
    both = ["model.optim.name=distributed_fused_adam", "model.fp8=null"]
    apart, whole = memory_of(*both, "model.context_parallel_size=4"), memory_of(*both)
    assert (4 * apart.activations, 4 * apart.logits) == (whole.activations, whole.logits)
    assert (apart.weights, apart.gradients, apart.optimizer) == (whole.weights, whole.gradients, whole.optimizer)


def test_pipeline_parallelism_splits_the_layers() -> None:
    half = (LINEARS + 24 * 2 * 2560) // 2
    memory = memory_of("model.pipeline_model_parallel_size=2", "model.fp8=null")
    assert memory.pipeline_rank == 0
    assert memory.weights == 2 * (half + 32_000 * 2560)
    assert memory.logits == 0
    assert memory.activations == memory_of("model.fp8=null").activations - 2048 * 2 * 2560 * 2


@pytest.mark.parametrize("chunks", [1, 2, 3])
@pytest.mark.parametrize("micro_batches", [4, 8, 36])
@pytest.mark.parametrize("rank", range(4))
def test_layers_in_flight_are_those_of_megatrons_schedule(chunks: int, micro_batches: int, rank: int) -> None:
    from megatron.core.pipeline_parallel.schedules import get_pp_rank_microbatches

    overrides = [f"model.virtual_pipeline_model_parallel_size={chunks}", "model.pipeline_model_parallel_size=4"]
    model = load_config("danube_1_8b", overrides).model
    place = SimpleNamespace(size=lambda: 4, rank=lambda: rank)
    pipeline = SimpleNamespace(pp_group=place, virtual_pipeline_model_parallel_size=None if chunks == 1 else chunks)
    _, _, warm_up, left = get_pp_rank_microbatches(micro_batches, chunks, 4, p2p_communicator=pipeline)
    passes = warm_up + min(left, 1)
    assert layers_in_flight(model, rank, micro_batches) == passes * 24 // 4 // chunks


def test_the_total_is_the_sum_and_long_sequences_need_more() -> None:
    totals = []
    for stage in range(4):
        memory = memory_of(stage=stage)
        parts = [
            getattr(memory, field.name) for field in fields(memory) if field.name not in ("pipeline_rank", "total")
        ]
        assert memory.total == sum(parts)
        totals.append(memory.total)
    assert totals == sorted(set(totals))
    assert memory_of("model.sliding_window=null", stage=3) == memory_of(stage=3)


def test_micro_batches_multiply_activations_only() -> None:
    one, three = memory_of(), memory_of("model.micro_batch_size=3")
    assert (three.activations, three.logits) == (3 * one.activations, 3 * one.logits)
    assert (three.weights, three.gradients, three.optimizer) == (one.weights, one.gradients, one.optimizer)


def saved_by_hugging_face(config: Config, sequences: int, length: int) -> int:
    """Bytes that autograd keeps of a forward pass through a Mistral's layers, beside its parameters."""
    import torch
    from transformers import MistralConfig, MistralModel

    shape = config.model
    mistral = MistralModel(
        MistralConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.ffn_hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_attention_heads,
            num_key_value_heads=shape.num_query_groups,
            head_dim=shape.head_dim,
            sliding_window=None,
            attn_implementation="sdpa",
        )
    )
    parameters = {parameter.untyped_storage().data_ptr() for parameter in mistral.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mistral(torch.randint(shape.vocab_size, (sequences, length)), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for at, tensor in saved.items() if at not in parameters)


def test_activations_are_about_what_autograd_saves() -> None:
    config = load_config("danube_rehearsal")
    stage = Curriculum.from_config(config).stages[0]
    estimate = 4 * 128 * activation_bytes_per_token(config, stage, pipeline_rank=0)
    assert estimate == pytest.approx(saved_by_hugging_face(config, 4, 128), rel=0.3)


@pytest.mark.parametrize(
    ("overrides", "per_parameter"),
    [
        ([], 2 + 4 + 8),
        (["model.optim.name=distributed_fused_adam"], 2 + 4 + 8),
        (["trainer.precision=32-true", "model.fp8=null"], 4 + 8),
        (["trainer.precision=32-true", "model.fp8=null", "model.optim.name=distributed_fused_adam"], 4 + 4 + 8),
        (["model.tensor_model_parallel_size=2", "model.pipeline_model_parallel_size=2"], 2 + 4 + 8),
    ],
)
def test_a_checkpoint_holds_weights_and_optimizer_once(overrides: list[str], per_parameter: int) -> None:
    assert checkpoint_bytes(load_config("danube_1_8b", overrides)) == per_parameter * N


@pytest.mark.parametrize(("vocab_size", "size"), [(32_000, 2), (65_499, 2), (65_500, 4), (128_000, 4)])
def test_tokens_are_as_narrow_as_megatron_makes_them(vocab_size: int, size: int) -> None:
    from megatron.core.datasets.indexed_dataset import DType

    config = load_config("danube_1_8b", [f"model.vocab_size={vocab_size}"])
    assert token_bytes(config) == size == DType.optimal_dtype(vocab_size)().itemsize
