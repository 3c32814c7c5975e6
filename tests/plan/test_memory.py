"""Bytes on a device and on disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.activations import passes_in_flight
from custom_modules.plan.memory import (
    DeviceMemory,
    checkpoint_bytes,
    fullest_device,
    token_bytes,
)
from tests.support.machine import Machine

N = 1_831_201_280
NORMS = (2 * 24 + 1) * 2560
GRANULARITIES = ("full", "selective")
LINEARS = N - NORMS - 2 * 32_000 * 2560


def memory_of(*overrides: str, name: str = "danube_1_8b", stage: int = 0) -> DeviceMemory:
    config = load_config(name, ["model.micro_batch_size=1", *overrides])
    return fullest_device(config, Curriculum.from_config(config).stages[stage])


def test_a_full_copy_in_bf16() -> None:
    memory = memory_of("model.fp8=null")
    assert (memory.weights, memory.gradients, memory.optimizer) == (2 * N, 4 * N, 12 * N)


def test_fp8_keeps_copies_of_the_linears() -> None:
    assert memory_of().weights == 2 * N + 2 * LINEARS


def test_fp32_needs_no_master_copy() -> None:
    memory = memory_of("model.fp8=null", "trainer.precision=32-true")
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * N, 4 * N, 8 * N)


def test_gradients_are_as_wide_as_they_are_reduced() -> None:
    assert memory_of("model.optim.grad_sync_dtype=bf16").gradients == 2 * N


def test_fsdp_divides_weights_gradients_and_optimizer() -> None:
    memory = memory_of("model.fsdp=true", "model.optim.grad_sync_dtype=bf16", "model.fp8=null")
    assert (memory.gradients, memory.optimizer) == (2 * N // 8, 12 * N // 8)
    gathered = 2 * (LINEARS + 24 * 2 * 2560) // 24 + 32_000 * 2560 + 2560
    assert memory.weights == 2 * N // 8 + 2 * gathered


LARGEST = 2 * 6912 * 2560
"""Parameters of the linear in front of an MLP's activation."""


@pytest.mark.parametrize(
    ("version", "copied"),
    [(None, LINEARS), ("2.9.0", LINEARS), ("2.15.0", LINEARS), ("2.16.0", LARGEST), ("2.20.2", LARGEST)],
)
def test_fsdp_leaves_fp8_copies_whole(
    version: str | None, copied: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformer Engine makes them of what FSDP has gathered, and keeps them before 2.16."""
    machine = Machine(tmp_path)
    if version:
        machine.package("transformer_engine", version, {})
    monkeypatch.syspath_prepend(machine.packages)
    fsdp = ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16"]
    apart = memory_of(*fsdp, "model.fp8=null").weights
    assert memory_of(*fsdp).weights == apart + 2 * copied
    assert memory_of().weights == 2 * N + 2 * LINEARS


@pytest.mark.parametrize("name", ["adamw", "distributed_fused_adam"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_bf16_gradients_save_what_base_yaml_says(name: str, size: int) -> None:
    """2 bytes a parameter, as far as activations need more than the fp32 copies."""
    overrides = [f"model.micro_batch_size={size}", f"model.optim.name={name}", "model.global_batch_tokens=1_179_648"]
    fp32, bf16 = (memory_of(*overrides, f"model.optim.grad_sync_dtype={dtype}") for dtype in ("fp32", "bf16"))
    activations = fp32.activations + max(fp32.layer_backward, fp32.loss)
    copies = 4 * N // (8 if name == "distributed_fused_adam" else 1)
    assert fp32.total - bf16.total == 2 * N + activations - max(activations, copies)


def test_the_distributed_optimizer_is_shared_by_the_data_parallel_ranks() -> None:
    memory = memory_of("model.optim.name=distributed_fused_adam", "model.fp8=null")
    assert (memory.weights, memory.gradients, memory.optimizer) == (2 * N, 4 * N, 12 * N // 8)


def test_tensor_parallelism_splits_all_but_the_norms() -> None:
    memory = memory_of("model.tensor_model_parallel_size=8", "model.fp8=null", "model.vocab_size=32768")
    parameters = (LINEARS + 2 * 32_768 * 2560) // 8 + NORMS
    assert (memory.weights, memory.gradients) == (2 * parameters, 4 * parameters)


def test_context_parallelism_shares_the_distributed_optimizer() -> None:
    both = ["model.optim.name=distributed_fused_adam", "model.fp8=null"]
    apart, whole = memory_of(*both, "model.context_parallel_size=4"), memory_of(*both)
    assert (apart.weights, apart.gradients, apart.optimizer) == (whole.weights, whole.gradients, whole.optimizer)


def test_pipeline_parallelism_splits_the_layers() -> None:
    half = (LINEARS + 24 * 2 * 2560) // 2
    memory = memory_of("model.pipeline_model_parallel_size=2", "model.fp8=null")
    assert memory.pipeline_rank == 0
    assert memory.weights == 2 * (half + 32_000 * 2560)
    assert memory.loss == 0


@pytest.mark.parametrize("chunks", [1, 2, 3])
@pytest.mark.parametrize("micro_batches", [4, 8, 36])
@pytest.mark.parametrize("rank", range(4))
@pytest.mark.slow
def test_passes_in_flight_are_those_of_megatrons_schedule(chunks: int, micro_batches: int, rank: int) -> None:
    from megatron.core.pipeline_parallel.schedules import get_pp_rank_microbatches

    overrides = [f"model.virtual_pipeline_model_parallel_size={chunks}", "model.pipeline_model_parallel_size=4"]
    model = load_config("danube_1_8b", overrides).model
    place = SimpleNamespace(size=lambda: 4, rank=lambda: rank)
    pipeline = SimpleNamespace(pp_group=place, virtual_pipeline_model_parallel_size=None if chunks == 1 else chunks)
    _, _, warm_up, left = get_pp_rank_microbatches(micro_batches, chunks, 4, p2p_communicator=pipeline)
    passes = warm_up + min(left, 1)
    assert passes_in_flight(model, rank, micro_batches) == (24 // 4 // chunks, passes)


def test_long_sequences_need_more_and_their_window_nothing() -> None:
    stages = [memory_of(stage=stage) for stage in range(4)]
    assert [memory.total for memory in stages] == sorted({memory.total for memory in stages})
    for memory in stages:
        lasting = memory.weights + memory.gradients + memory.optimizer + memory.activations
        assert memory.total == lasting + max(memory.layer_backward, memory.loss)
    assert memory_of("model.sliding_window=null", stage=3) == memory_of(stage=3)


def test_micro_batches_multiply_activations_only() -> None:
    one, three = memory_of(), memory_of("model.micro_batch_size=3")
    assert (three.activations, three.loss) == (3 * one.activations, 3 * one.loss)
    assert (three.weights, three.gradients, three.optimizer) == (one.weights, one.gradients, one.optimizer)


def test_fp8_halves_what_is_multiplied() -> None:
    """The inputs of four linears, two of which bf16 shares with what stands before them: the attention's output, and
    nothing else, is kept in both."""
    bf16, fp8 = memory_of("model.fp8=null"), memory_of()
    multiplied = 2 * 2560 + 2560 + 6912
    kept_twice = 2560 * 2
    assert bf16.activations - fp8.activations == 24 * 2048 * (multiplied - kept_twice)


@pytest.mark.parametrize(
    ("overrides", "element"),
    [
        (["model.fp8=null", "trainer.precision=32-true"], 4),
        (["model.fp8=null", "model.kv_channels=84"], 2),
        (["model.kv_channels=84"], 2),
    ],
)
def test_an_attention_that_is_not_fused_keeps_all_scores(overrides: list[str], element: int) -> None:
    """32 heads: 34 GB a layer in fp32, at 16,384 tokens."""
    explicit = [*overrides, "model.transformer_engine=true"]
    short, long = (memory_of(*explicit, stage=stage).activations for stage in (0, 3))
    scores = [24 * 32 * length**2 * element for length in (2048, 16384)]
    assert long - scores[1] == pytest.approx(8 * (short - scores[0]), rel=1e-6)


def test_each_remedy_of_the_16384_stage_takes_less() -> None:
    """What an 80 GB H100 leaves to torch is 77 GiB: the recipe needs none of them, by an estimate not yet measured."""
    full, selective = (f"curriculum.stages.stage4.activations_checkpoint_granularity={name}" for name in GRANULARITIES)
    chunk = "model.cross_entropy_chunk_size=2048"
    totals = [
        memory_of(*overrides, stage=3).total / 2**30 for overrides in ([], [chunk], [selective, chunk], [full, chunk])
    ]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] < 0.85 * 77


def whole_step(overrides: list[str], number: int = 3) -> tuple[int, int]:
    """Bytes of tensors that live at the fullest moment of two training steps of a stage, and what is planned."""
    from custom_modules.data.batches import micro_batches
    from custom_modules.data.random_tokens import RandomTokens
    from custom_modules.platform import Platform
    from custom_modules.training.engine import Engine
    from tests.support.measured import LiveStorages

    config = load_config("danube_rehearsal", ["trainer.devices=1", *overrides])
    curriculum = Curriculum.from_config(config)
    stage = curriculum.stages[number]
    tokens = RandomTokens(stage.seq_length, config.model.vocab_size)
    batches = micro_batches(tokens, stage, 0, stage.num_samples, 0, config.model.vocab_size)
    with LiveStorages() as live:
        engine = Engine(config, curriculum, Platform.detect(config))
        for _ in range(2):
            engine.train_step(batches, stage)
    return live.peak, fullest_device(config, stage).total


@pytest.mark.slow
@pytest.mark.parametrize("precision", [pytest.param("32-true", marks=pytest.mark.slow), "bf16-mixed"])
def test_a_whole_step_of_the_rehearsal(single_process: None, precision: str) -> None:
    """The step includes clipping and the optimizer."""
    measured, planned = whole_step([f"trainer.precision={precision}", "model.micro_batch_size=4"])
    assert planned == pytest.approx(measured, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("distributed_fused_adam", marks=pytest.mark.slow)])
def test_a_step_in_which_the_optimizer_copies_bf16_gradients(single_process: None, optimizer: str) -> None:
    """The copies take more than the activations did."""
    wide = ["model.hidden_size=512", "model.ffn_hidden_size=2048", "model.num_layers=2", "model.micro_batch_size=1"]
    bf16 = ["trainer.precision=bf16-mixed", "model.optim.grad_sync_dtype=bf16", f"model.optim.name={optimizer}"]
    one_stage = [f"curriculum.stages.stage{number}=null" for number in (2, 3, 4)]
    measured, planned = whole_step([*wide, *bf16, *one_stage, "model.global_batch_tokens=256"], 0)
    assert planned == pytest.approx(measured, rel=0.05)


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


def test_folded_alibi_widens_what_the_attention_keeps() -> None:
    """Each head's queries, keys, values and output have 8 features more, in bf16 alone; in fp32 a block has a mask."""
    widths = (8 + 8 + 8 + 8) * 32 * 2
    for local in (True, False):
        folded, plain = (of_loki(alibi, local) for alibi in (True, False))
        # Transformer Engine's attention shares its output with the projection, unless that has to be cut.
        cut = 0 if local else 64 * 32 * 2
        assert folded - plain == 24 * 2048 * (widths + cut)
    in_fp32 = ["trainer.precision=32-true", "model.optim.grad_sync_dtype=fp32"]
    assert of_loki(True, True, *in_fp32) - of_loki(False, True, *in_fp32) == 4 * 32 * 512 * (2048 + 512)


def of_loki(alibi: bool, local: bool, *overrides: str) -> int:
    """Bytes that LokiLM's layers keep of a sequence, as it is or without positions."""
    config = load_config("loki_1_4b", ["model.micro_batch_size=1", "model.fp8=null", *overrides])
    if not alibi:
        config = config.model_copy(
            update={"model": config.model.model_copy(update={"position_embedding_type": "none"})}
        )
    stage = Curriculum.from_config(config).stages[0]
    return fullest_device(config, stage, on_cpu=local).activations
