"""The token clock: stages back to back, in whole steps, never short of their budget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.load import load_config, validate
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError

REHEARSAL = load_config("danube_rehearsal").model_dump()


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any shape whose parts divide."""
    tensor, pipeline, data_parallel = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    groups = tensor * draw(st.integers(1, 3))
    micro = draw(st.integers(1, 3))
    lengths = draw(st.lists(st.sampled_from([64, 128, 192, 256]), min_size=1, max_size=5))
    batch = 768 * micro * data_parallel * draw(st.integers(1, 4))
    stages: dict[str, Any] = {
        f"part{n}": {"tokens": draw(st.integers(1, 20 * batch)), "encoder_seq_length": length}
        for n, length in enumerate(lengths)
    }
    return validate(
        {
            **REHEARSAL,
            "trainer": {**REHEARSAL["trainer"], "devices": tensor * pipeline * data_parallel},
            "model": {
                **REHEARSAL["model"],
                "num_layers": pipeline * draw(st.integers(1, 3)),
                "num_attention_heads": groups * draw(st.integers(1, 4)),
                "num_query_groups": groups,
                "kv_channels": 2 * draw(st.integers(1, 40)),
                "ffn_hidden_size": tensor * draw(st.integers(1, 500)),
                "vocab_size": draw(st.integers(1, 70_000)),
                "tensor_model_parallel_size": tensor,
                "pipeline_model_parallel_size": pipeline,
                "global_batch_tokens": batch,
                "micro_batch_size": micro,
                "optim": {
                    **REHEARSAL["model"]["optim"],
                    "sched": {**REHEARSAL["model"]["optim"]["sched"], "warmup_tokens": 0},
                },
            },
            "curriculum": {"stage": None, "stages": stages},
        }
    )


@settings(deadline=None)
@given(configs())
def test_stages_are_back_to_back_whole_steps(config: Config) -> None:
    curriculum = Curriculum.from_config(config)
    clock = 0
    for stage, asked in zip(curriculum.stages, config.curriculum.stages.values(), strict=True):
        assert stage.start_tokens == clock
        clock += stage.steps * config.model.global_batch_tokens
        assert stage.end_tokens == clock
        assert stage.trained_tokens - stage.extra_tokens == stage.token_budget == asked.tokens
        assert 0 <= stage.extra_tokens < stage.global_batch_tokens
        assert stage.global_batch_size * stage.seq_length == config.model.global_batch_tokens
        assert stage.num_samples * stage.seq_length == stage.trained_tokens
        in_a_step = stage.num_microbatches * stage.micro_batch_size * config.data_parallel_size
        assert in_a_step == stage.global_batch_size
    assert curriculum.total_tokens == clock == curriculum.total_steps * config.model.global_batch_tokens
    assert curriculum.max_seq_length == max(stage.encoder_seq_length for stage in config.curriculum.stages.values())


@settings(deadline=None)
@given(configs())
def test_the_clock_finds_its_stage_and_position(config: Config) -> None:
    curriculum = Curriculum.from_config(config)
    clock, batch = 0, config.model.global_batch_tokens
    for stage in curriculum.stages:
        for step in range(stage.steps):
            assert curriculum.at(clock) is stage
            assert curriculum.at(clock + batch - 1) is stage
            assert stage.consumed_samples(clock) == step * stage.global_batch_size
            clock += batch
        assert stage.consumed_samples(clock) == stage.num_samples
        assert curriculum.stage(stage.name) is stage
    assert curriculum.at(clock) is None


@pytest.mark.parametrize(
    ("name", "steps", "extra"),
    [
        ("danube_1_8b", [593_398, 84_772, 84_772, 84_772], [763_904, 1_120_256, 1_120_256, 1_120_256]),
        ("danube_rehearsal", [334, 48, 48, 48], [1_753, 2_591, 2_591, 2_591]),
    ],
)
def test_steps_of_the_recipes(name: str, steps: list[int], extra: list[int]) -> None:
    stages = Curriculum.from_config(load_config(name)).stages
    assert [stage.steps for stage in stages] == steps
    assert [stage.extra_tokens for stage in stages] == extra


def test_one_length_for_all_stages() -> None:
    config = load_config("danube_1_8b", ["model.encoder_seq_length=2048"])
    assert {stage.seq_length for stage in Curriculum.from_config(config).stages} == {2048}


def test_a_stages_own_micro_batch() -> None:
    overrides = ["model.micro_batch_size=1", "curriculum.stages.stage1.micro_batch_size=8"]
    stages = Curriculum.from_config(load_config("danube_1_8b", overrides)).stages
    assert [(stage.micro_batch_size, stage.num_microbatches) for stage in stages] == [(8, 9), (1, 36), (1, 18), (1, 9)]


def test_an_unknown_stage_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"curriculum.stage=stage9: .*stage1, stage2, stage3, stage4"):
        Curriculum.from_config(load_config("danube_1_8b")).stage("stage9")
