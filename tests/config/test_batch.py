"""The batch belongs to the stage, and the micro-batch follows from tokens where no sequences are given."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.batch import micro_batch
from custom_modules.config.load import load_config, validate
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.errors import UserError
from custom_modules.plan.plan import build_plan
from custom_modules.plan.render import render_text

REHEARSAL = load_config("danube_rehearsal").model_dump()
SECOND = "curriculum.stages.stage2"


def stages_of(*overrides: str, name: str = "danube_1_8b") -> tuple[Stage, ...]:
    return Curriculum.from_config(load_config(name, overrides)).stages


def explained(*overrides: str, stage: str = "stage2") -> str:
    return micro_batch(load_config("danube_1_8b", overrides), stage).explain()


def sizes(*overrides: str) -> list[int]:
    return [stage.micro_batch_size for stage in stages_of(*overrides)]


@settings(deadline=None)
@given(
    tokens=st.integers(1, 5000),
    share=st.integers(1, 60),
    devices=st.sampled_from([1, 2, 4]),
    context=st.sampled_from([1, 2]),
    interleaved=st.booleans(),
)
def test_the_largest_up_to_the_tokens_that_divides_a_devices_share(
    tokens: int, share: int, devices: int, context: int, interleaved: bool
) -> None:
    """The tokens are those of whole sequences, however many devices share one."""
    pipeline, length = 2 if interleaved else 1, 64
    plain = {
        **REHEARSAL,
        "trainer": {**REHEARSAL["trainer"], "devices": devices * context * pipeline},
        "model": {
            **REHEARSAL["model"],
            "num_layers": 4,
            "pipeline_model_parallel_size": pipeline,
            "virtual_pipeline_model_parallel_size": 2 if interleaved else None,
            "context_parallel_size": context,
            "global_batch_tokens": share * devices * length,
            "micro_batch_tokens": tokens,
        },
        "curriculum": {"stage": None, "stages": {"only": {"tokens": 10**6, "encoder_seq_length": length}}},
    }
    fits = [size for size in range(1, share + 1) if share % size == 0 and share // size % pipeline == 0]
    if not fits:
        with pytest.raises(UserError, match="interleaving takes micro-batches 2 at a time"):
            validate(plain)
        return
    stage = Curriculum.from_config(validate(plain)).stages[0]
    assert stage.micro_batch_size == max((size for size in fits if size * length <= tokens), default=1)
    assert stage.micro_batch_size * stage.num_microbatches == share


SPECIFIC_FIRST = (
    (f"{SECOND}.micro_batch_size", 1),
    (f"{SECOND}.micro_batch_tokens", 3 * 4096),
    ("model.micro_batch_size", 2),
    ("model.micro_batch_tokens", 4 * 4096),
)


@pytest.mark.parametrize("chosen", [c for c in product([True, False], repeat=4) if any(c)])
def test_the_stages_own_before_the_models_and_sequences_before_tokens(chosen: tuple[bool, ...]) -> None:
    values = [(key, value if given else "null") for (key, value), given in zip(SPECIFIC_FIRST, chosen, strict=True)]
    others = [f"curriculum.stages.stage{n}.micro_batch_size=1" for n in (1, 3, 4)]
    stage = stages_of(*others, *(f"{key}={value}" for key, value in values))[1]
    winner = chosen.index(True)
    assert stage.micro_batch_size == (1, 3, 2, 4)[winner]
    text = explained(*others, *(f"{key}={value}" for key, value in values))
    assert SPECIFIC_FIRST[winner][0] in text
    beaten = [f"{key}={value}" for key, value in values[winner + 1 :] if value != "null"]
    assert all(key in text.partition("wins over")[2] for key in beaten)
    assert ("wins over" in text) == bool(beaten)


def test_a_size_from_the_command_line_wins_over_a_files_tokens_and_the_plan_says_so() -> None:
    assert sizes("model.micro_batch_size=3") == [3, 3, 3, 3]
    text = render_text(build_plan(load_config("danube_1_8b", ["model.micro_batch_size=3"])))
    assert "micro-batch 3: model.micro_batch_size=3; wins over model.micro_batch_tokens=16384" in text


def test_one_sequence_of_more_than_the_tokens_is_a_micro_batch_and_the_plan_says_so() -> None:
    assert sizes("model.micro_batch_tokens=8191") == [3, 1, 1, 1]
    text = render_text(build_plan(load_config("danube_1_8b", ["model.micro_batch_tokens=8191"])))
    assert text.count("one sequence is more than model.micro_batch_tokens=8191") == 2


def test_neither_tokens_nor_sequences() -> None:
    with pytest.raises(UserError, match=r"^model\.micro_batch_tokens=null: .*model\.micro_batch_size=null"):
        load_config("danube_1_8b", ["model.micro_batch_tokens=null"])


def test_a_stages_own_batch() -> None:
    """A ramp: every count of the stage follows its own batch, and the clock goes on from the end of the one before."""
    before = stages_of()
    stages = stages_of("curriculum.stages.stage1.global_batch_tokens=147456")
    assert [stage.global_batch_tokens for stage in stages] == [147_456, *[1_179_648] * 3]
    assert (stages[0].global_batch_size, stages[0].micro_batch_size, stages[0].num_microbatches) == (72, 3, 3)
    assert stages[0].steps == -(-700 * 10**9 // 147_456)
    assert [stage.steps for stage in stages[1:]] == [stage.steps for stage in before[1:]]
    assert stages[1].start_tokens == stages[0].end_tokens == stages[0].steps * 147_456


def test_the_plan_of_a_ramp() -> None:
    """The warm-up's steps are counted stage by stage."""
    overrides = [
        "curriculum.stages.stage1={tokens: 1_179_648_000, encoder_seq_length: 2048, global_batch_tokens: 589_824}"
    ]
    plan = build_plan(load_config("danube_1_8b", overrides))
    text = render_text(plan)
    assert "stage1: 288 sequences/step = 589,824 tokens / 2,048" in text
    assert "stage2: 288 sequences/step = 1,179,648 tokens / 4,096" in text
    assert "2,359,296,000 tokens = 3,000 steps" in text
    assert plan.stages[0].steps == 2000
    assert plan.stages[0].first_learning_rate == pytest.approx(2e-4 * 589_824 / 2_359_296_000)


REFUSED: list[tuple[list[str], str, str]] = [
    ([f"{SECOND}.global_batch_tokens=4097"], f"{SECOND}.encoder_seq_length=4096", f"{SECOND}.global_batch_tokens=4097"),
    ([f"{SECOND}.global_batch_tokens=4096"], "trainer.devices=8", "divides 1"),
    (
        [f"{SECOND}.global_batch_tokens=131072", f"{SECOND}.micro_batch_size=3"],
        f"{SECOND}.micro_batch_size=3",
        "micro-batch of 1, 2, 4",
    ),
    (["model.micro_batch_tokens=0"], "model.micro_batch_tokens=0", "greater than 0"),
]


@pytest.mark.parametrize(("overrides", "names", "works"), REFUSED)
def test_refused(overrides: list[str], names: str, works: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("danube_1_8b", overrides)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{names}: ")
    assert works in str(caught.value)


def test_a_config_of_before_these_keys() -> None:
    """The size that it gives counts, and no key of tokens is needed."""
    from custom_modules.config.load import with_defaults

    plain: dict[str, Any] = load_config("danube_rehearsal", ["model.micro_batch_size=32"]).model_dump(mode="json")
    del plain["model"]["micro_batch_tokens"]
    for stage in plain["curriculum"]["stages"].values():
        del stage["micro_batch_tokens"], stage["global_batch_tokens"]
    stages = Curriculum.from_config(validate(with_defaults(plain))).stages
    assert [stage.micro_batch_size for stage in stages] == [32, 16, 8, 4]
