"""Values that are each right and cannot hold together: one line that names the key, the value and what would work."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.load import load_config, validate
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError

REHEARSAL = load_config("danube_rehearsal").model_dump()

CONTRADICTIONS = [
    (["model.num_query_groups=5"], "model.num_query_groups=5", "divisor of 32"),
    (["model.hidden_size=2561"], "model.hidden_size=2561", "2560 or 2624"),
    (["model.kv_channels=81"], "model.kv_channels=81", "80 or 82"),
    (["model.optim.sched.min_lr=2e-4"], "model.optim.sched.min_lr=0.0002", "1e-05"),
    (["model.optim.sched.warmup_tokens=1e12"], "model.optim.sched.warmup_tokens=1000000000000", "1000000000000"),
    (["curriculum.stage=stage9"], "curriculum.stage=stage9", "stage1, stage2, stage3, stage4"),
    (
        ["curriculum.stages.stage2.encoder_seq_length=3000"],
        "curriculum.stages.stage2.encoder_seq_length=3000",
        "1179000 or 1182000",
    ),
    (["model.encoder_seq_length=5000"], "model.encoder_seq_length=5000", "1175000 or 1180000"),
    (["model.micro_batch_size=5"], "model.micro_batch_size=5", "1, 2, 3, 4"),
    (
        ["curriculum.stages.stage4.micro_batch_size=2"],
        "curriculum.stages.stage4.micro_batch_size=2",
        "micro-batch of 1, 3, 9",
    ),
    (["data.max_epochs.web=2"], "data.max_epochs.web=2", "text"),
    (["data.sources={web: a, books: b}", "data.max_epochs={web: 2, book: 2}"], "data.max_epochs.book=2", "web, books"),
    (["distillation={teachers: {a b: {}}}"], "distillation.teachers.a b", "letters, digits, _ and -"),
    (
        ["distillation={every_n_batches: null, teachers: {one: {}}}"],
        "distillation.teachers.one",
        "distillation.teachers.one=null",
    ),
    (
        ["distillation={prefix_tokens: 2048, teachers: {one: {targets: text}}}"],
        "distillation.prefix_tokens=2048",
        "curriculum.stages.stage1.encoder_seq_length=2048",
    ),
    (
        ["exp_manager.loss_spike={patience: 1000}"],
        "exp_manager.loss_spike.patience=1000",
        "more than 1179648000, or exp_manager.loss_spike.patience to at most 999",
    ),
    (
        ["exp_manager.loss_spike={}", "exp_manager.checkpoint_callback_params.every_n_train_tokens=1000"],
        "exp_manager.loss_spike.patience=8",
        "exp_manager.checkpoint_callback_params.every_n_train_tokens=1000",
    ),
    (
        ["exp_manager.loss_spike={}", "exp_manager.checkpoint_callback_params.save_last_n=1"],
        "exp_manager.loss_spike.max_rollbacks=3",
        "set that to 2, or exp_manager.loss_spike.max_rollbacks to 2",
    ),
    (
        ["data.reset_attention_mask=true", "model.context_parallel_size=2"],
        "data.reset_attention_mask=true",
        "model.context_parallel_size=1",
    ),
    (
        ["data.reset_position_ids=true", "model.architecture=lokilm", "model.sliding_window=null"],
        "data.reset_position_ids=true",
        "data.reset_attention_mask=true",
    ),
    (["trainer.num_nodes=100"], "trainer.devices=8", "divides 576"),
    (["trainer.num_nodes=2"], "trainer.devices=8", "divides 72"),
    (["trainer.precision=32-true"], "model.fp8=hybrid", "model.fp8=null"),
    (
        ["trainer.precision=32-true", "model.fp8=null", "model.optim.grad_sync_dtype=bf16"],
        "model.optim.grad_sync_dtype=bf16",
        "model.optim.grad_sync_dtype=fp32",
    ),
]


@pytest.mark.parametrize(("overrides", "names", "works"), CONTRADICTIONS)
def test_contradiction(overrides: list[str], names: str, works: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("danube_1_8b", overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert names in message
    assert works in message


def test_a_stage_that_cannot_be_a_folder() -> None:
    stages = {"../stage1": next(iter(REHEARSAL["curriculum"]["stages"].values()))}
    with pytest.raises(UserError, match=r"curriculum\.stages\.\.\./stage1: .*use letters"):
        validate({**REHEARSAL, "curriculum": {"stage": None, "stages": stages}})


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.hidden_size=2624", "model.num_query_groups=16"],
        ["model.tensor_model_parallel_size=8", "model.pipeline_model_parallel_size=4", "trainer.num_nodes=4"],
        ["trainer.devices=4", "model.tensor_model_parallel_size=2"],
        ["model.encoder_seq_length=5000", "model.global_batch_tokens=1_200_000", "model.micro_batch_size=10"],
        ["curriculum.stages.stage4.micro_batch_size=9"],
        ["trainer.devices=6", "trainer.num_nodes=12"],
        ["trainer.num_nodes=2", "model.tensor_model_parallel_size=2"],
        ["trainer.devices=8", "model.micro_batch_size=2"],
    ],
)
def test_what_the_advice_leads_to_is_accepted(overrides: list[str]) -> None:
    load_config("danube_1_8b", overrides)


@settings(deadline=None)
@given(
    layers=st.integers(1, 4),
    group_size=st.integers(1, 4),
    groups=st.integers(1, 4),
    devices=st.sampled_from([1, 2, 4, 6, 8]),
    tensor=st.integers(1, 3),
    pipeline=st.integers(1, 3),
    sequences=st.integers(1, 24),
    micro=st.integers(1, 3),
    lengths=st.lists(st.sampled_from([128, 256, 384, 512]), min_size=1, max_size=4),
)
def test_accepted_if_and_only_if_everything_divides(
    layers: int,
    group_size: int,
    groups: int,
    devices: int,
    tensor: int,
    pipeline: int,
    sequences: int,
    micro: int,
    lengths: list[int],
) -> None:
    batch, heads, ffn = sequences * 512, groups * group_size, REHEARSAL["model"]["ffn_hidden_size"]
    divides = groups % tensor == heads % tensor == ffn % tensor == layers % pipeline == devices % (
        tensor * pipeline
    ) == 0 and all(
        batch % (length * (micro if first else 1) * (devices // (tensor * pipeline))) == 0
        for first, length in zip([True, *[False] * 3], lengths, strict=False)
    )
    plain = {
        **REHEARSAL,
        "trainer": {**REHEARSAL["trainer"], "devices": devices},
        "model": {
            **REHEARSAL["model"],
            "num_layers": layers,
            "num_attention_heads": heads,
            "num_query_groups": groups,
            "kv_channels": 16,
            "tensor_model_parallel_size": tensor,
            "pipeline_model_parallel_size": pipeline,
            "global_batch_tokens": batch,
            "micro_batch_size": micro,
        },
        "curriculum": {
            "stage": None,
            "stages": {
                f"stage{n}": {"tokens": 10**6, "encoder_seq_length": length}
                for n, length in enumerate(lengths, start=1)
            },
        },
    }
    try:
        config = validate(plain)
    except UserError as error:
        assert not divides, error
        assert "\n" not in str(error)
        return
    assert divides
    for stage in Curriculum.from_config(config).stages:
        assert stage.micro_batch_size <= micro
        in_a_step = stage.num_microbatches * stage.micro_batch_size * config.data_parallel_size
        assert in_a_step * stage.seq_length == batch
