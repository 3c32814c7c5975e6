"""The plan's activations beside what megatron-core's layers really hold, at the widths and lengths of Danube."""

from __future__ import annotations

from dataclasses import replace

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.activations import activations
from custom_modules.plan.memory import weight_bytes
from custom_modules.platform.megatron import import_megatron

DANUBE = ["trainer.accelerator=cpu", "trainer.devices=4", "model.fp8=null"]
FULL = "model.activations_checkpoint_granularity=full"
SELECTIVE = "model.activations_checkpoint_granularity=selective"
CHUNK = "model.cross_entropy_chunk_size=2048"
BLOCK = [FULL, "model.activations_checkpoint_method=block"]


def compare(overrides: list[str], stage_index: int, rank: int) -> None:
    import_megatron()
    from tests.support.measured import activation_peak

    config = load_config("danube_1_8b", [*DANUBE, *overrides])
    stage = Curriculum.from_config(config).stages[stage_index]
    # Two micro-batches: as many as a pipeline of two has in flight.
    in_two = 2 * stage.micro_batch_size * stage.data_parallel_size * stage.seq_length
    stage = replace(stage, global_batch_tokens=in_two)
    pipeline_rank = rank * config.model.pipeline_model_parallel_size // config.trainer.world_size
    planned = activations(config, stage, pipeline_rank, weight_bytes(config), on_cpu=True).total
    assert planned == pytest.approx(activation_peak(config, stage, rank), rel=0.05)


ALIBI = ["model.architecture=lokilm", "model.sliding_window=null"]
TP, PP = "model.tensor_model_parallel_size=2", "model.pipeline_model_parallel_size=2"


@pytest.mark.parametrize(
    ("overrides", "stage", "rank"),
    [
        ([], 3, 0),
        (["model.sliding_window=null", "model.num_query_groups=32"], 1, 0),
        (["trainer.precision=32-true", "model.micro_batch_size=3"], 0, 0),
        ([FULL], 3, 0),
        ([FULL, CHUNK, "model.activations_checkpoint_num_layers=2"], 3, 0),
        ([*BLOCK, CHUNK, "model.activations_checkpoint_num_layers=1"], 3, 0),
        ([SELECTIVE, CHUNK, TP], 3, 0),
        ([SELECTIVE, "model.recompute_modules=[core_attn,mlp]", "trainer.precision=32-true"], 2, 0),
        ([TP, "model.vocab_size=64000"], 0, 3),
        ([TP, "model.sequence_parallel=true"], 3, 0),
        ([TP, FULL, CHUNK, "model.sequence_parallel=true"], 3, 0),
        (["model.context_parallel_size=4"], 3, 0),
        (ALIBI, 0, 0),
        ([*ALIBI, TP, "trainer.precision=32-true"], 1, 0),
        ([*ALIBI, "model.context_parallel_size=4", "model.num_query_groups=32"], 2, 0),
        ([*ALIBI, SELECTIVE, "model.recompute_modules=[core_attn,mlp]"], 1, 0),
        ([PP], 3, 0),
        ([PP, FULL], 3, 3),
        ([PP, TP, FULL, CHUNK, "model.num_layers=4"], 3, 0),
    ],
)
@pytest.mark.slow
def test_what_is_planned_is_what_is_held(overrides: list[str], stage: int, rank: int) -> None:
    compare(["model.num_layers=2", *overrides], stage, rank)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [[], [FULL], [SELECTIVE, CHUNK]])
def test_all_of_danube_at_16384(overrides: list[str]) -> None:
    compare(overrides, 3, 0)


TEACHERS = "distillation={top_k: 512, teachers: {oak: {targets: top_k}, elm: {targets: top_k}, ash: {targets: top_k}}}"
"""So many tokens that their rows and what is made of them are more than the plan may be off by."""


@pytest.mark.parametrize("overrides", [[], ["trainer.precision=32-true"], [TP], [FULL, CHUNK], [PP]])
def test_teachers_targets_are_planned(overrides: list[str]) -> None:
    rank = 3 if PP in overrides else 0
    compare(["model.num_layers=2", TEACHERS, *overrides], 0, rank)


APART = ["data.reset_attention_mask=true", "model.hidden_size=256", "model.ffn_hidden_size=688", "model.num_layers=2"]


@pytest.mark.parametrize("overrides", [[], ["trainer.precision=bf16-mixed"], [FULL], ALIBI])
@pytest.mark.slow
def test_documents_that_do_not_see_each_other_keep_as_much(overrides: list[str]) -> None:
    """Of tensors with contents, which megatron-core's rotation of packed sequences needs, and so of a small model."""
    import_megatron()
    from tests.support.measured import activation_peak

    config = load_config("danube_rehearsal", ["trainer.devices=1", *APART, *overrides])
    stage = Curriculum.from_config(config).stages[3]
    stage = replace(stage, global_batch_tokens=2 * stage.micro_batch_size * stage.seq_length)
    planned = activations(config, stage, 0, weight_bytes(config), on_cpu=True).total
    assert planned == pytest.approx(activation_peak(config, stage), rel=0.05)
