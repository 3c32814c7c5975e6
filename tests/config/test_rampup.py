"""A batch that grows with the tokens consumed: by megatron-core's rule, in phases that hold every sample once."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.load import load_config, validate
from custom_modules.config.rampup import BatchRampup, batch_phases, tokens_of_steps
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.errors import UserError

KEY = "model.rampup_batch_tokens"
REHEARSAL = load_config("danube_rehearsal").model_dump()
LENGTH = 2048
BILLION = 10**9


def formula(first: int, increment: int, tokens: int, whole: int, consumed: int) -> int:
    """The rule, written out with exact fractions."""
    count = Fraction(whole - first, increment)
    return first + increment * floor(count * Fraction(consumed, tokens)) if consumed < tokens else whole


@pytest.mark.slow
@pytest.mark.parametrize(("first", "increment", "whole"), [(128, 128, 1024), (32, 32, 1024), (64, 8, 512)])
def test_is_megatrons_rule_at_every_step_of_50_billion_tokens(first: int, increment: int, whole: int) -> None:
    """And of the steps behind them. It counts in sequences."""
    from megatron.core.num_microbatches_calculator import RampupBatchsizeNumMicroBatchesCalculator

    over = 50 * BILLION
    theirs = RampupBatchsizeNumMicroBatchesCalculator(
        global_batch_size=whole,
        micro_batch_size=8,
        data_parallel_size=1,
        decrease_batch_size_if_needed=False,
        rank=1,
        start_global_batch_size=first,
        batch_size_increment=increment,
        ramup_samples=over / LENGTH,
    )
    ours = BatchRampup(first * LENGTH, increment * LENGTH, over)
    consumed = steps = 0
    for phase in batch_phases(ours, whole * LENGTH, 0, over + 100 * whole * LENGTH):
        assert phase.start_tokens == consumed * LENGTH
        for _ in range(phase.steps):
            theirs.update(consumed, consistency_check=True)
            assert theirs.get_current_global_batch_size() * LENGTH == phase.batch_tokens
            consumed += theirs.get_current_global_batch_size()
            steps += 1
    assert steps > 70_000


@settings(deadline=None)
@given(
    first=st.integers(1, 12),
    increment=st.integers(1, 12),
    count=st.integers(1, 9),
    tokens=st.integers(1, 2000),
    start=st.integers(0, 1500),
    budget=st.integers(1, 1500),
)
def test_a_stages_phases_are_the_rule_step_by_step(
    first: int, increment: int, count: int, tokens: int, start: int, budget: int
) -> None:
    """Also where a step is longer than a phase, so that batches are left out."""
    ramp, whole = BatchRampup(first, increment, tokens), first + count * increment
    now, steps = start, 0
    phases = batch_phases(ramp, whole, start, budget)
    for phase in phases:
        assert phase.start_tokens == now
        for _ in range(phase.steps):
            assert now < start + budget
            assert phase.batch_tokens == ramp.batch(now, whole) == formula(first, increment, tokens, whole, now)
            now, steps = now + phase.batch_tokens, steps + 1
            assert tokens_of_steps(ramp, whole, start, steps) == now - start
        assert phase.end_tokens == now
    assert now >= start + budget
    assert all(one.batch_tokens < other.batch_tokens for one, other in pairwise(phases))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """A ramp over any part of several stages, on one or more devices, in a pipeline or not."""
    ranks, pipeline = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2]))
    unit = 192 * ranks * pipeline
    first, increment = unit * draw(st.integers(1, 4)), unit * draw(st.integers(1, 3))
    whole = first + increment * draw(st.integers(1, 6))
    lengths = draw(st.lists(st.sampled_from([32, 64, 96, 192]), min_size=1, max_size=4))
    stages: dict[str, Any] = {
        f"part{n}": {"tokens": draw(st.integers(1, 12 * whole)), "encoder_seq_length": length}
        for n, length in enumerate(lengths)
    }
    total = sum(stage["tokens"] for stage in stages.values())
    model = {
        **REHEARSAL["model"],
        "num_layers": 4,
        "pipeline_model_parallel_size": pipeline,
        "virtual_pipeline_model_parallel_size": 2 if pipeline == 2 else None,
        "global_batch_tokens": whole,
        "rampup_batch_tokens": [first, increment, draw(st.integers(1, total))],
        "micro_batch_tokens": draw(st.integers(1, 2000)),
    }
    model["optim"]["sched"] = {**model["optim"]["sched"], "warmup_tokens": 0}
    trainer = {**REHEARSAL["trainer"], "devices": ranks * pipeline}
    return validate({**REHEARSAL, "trainer": trainer, "model": model, "curriculum": {"stage": None, "stages": stages}})


def micro_batch_of(phase: Stage, most: int, group: int) -> int:
    """The largest up to ``most`` that divides a device's share into whole groups of a pipeline."""
    share = phase.global_batch_tokens // phase.seq_length // phase.data_parallel_size
    return max(size for size in range(1, most + 1) if share % (size * group) == 0)


@settings(deadline=None)
@given(configs(), st.data())
def test_stages_in_phases(config: Config, data: st.DataObject) -> None:
    """Back to back, in whole steps of the rule's batch, each with the largest micro-batch up to the stage's; and from
    any step on, what is left is the samples that no step before has read."""
    ramp, whole = config.model.rampup_batch_tokens, config.model.global_batch_tokens
    assert ramp is not None
    curriculum = Curriculum.from_config(config)
    clock = 0
    for stage, asked in zip(curriculum.stages, config.curriculum.stages.values(), strict=True):
        assert stage.start_tokens == clock
        clocks, samples, steps = [], 0, 0
        for phase in stage.phases:
            assert (phase.name, phase.seq_length, phase.start_tokens) == (stage.name, stage.seq_length, clock)
            assert phase.micro_batch_size == micro_batch_of(
                phase, stage.micro_batch_size, config.model.micro_batch_group
            )
            in_a_step = phase.micro_batch_size * phase.num_microbatches * phase.data_parallel_size
            assert in_a_step == phase.global_batch_size
            for _ in range(phase.steps):
                assert phase.global_batch_tokens == formula(*ramp, whole, clock)
                assert stage.consumed_samples(clock) == samples
                clocks.append(clock)
                clock, samples, steps = clock + phase.global_batch_tokens, samples + phase.global_batch_size, steps + 1
            assert phase.end_tokens == clock
        assert (stage.end_tokens, stage.num_samples, stage.steps) == (clock, samples, steps)
        assert stage.trained_tokens == asked.tokens + stage.extra_tokens
        assert 0 <= stage.extra_tokens < stage.phases[-1].global_batch_tokens
        assert steps - 1 < stage.exact_steps <= steps
        now = data.draw(st.sampled_from(clocks))
        left = [sample for _, part in stage.phases_from(now) for sample in part]
        assert left == list(range(stage.consumed_samples(now), stage.num_samples))
        assert (stage.rampup is None) == (stage.start_tokens >= ramp.tokens)
    assert curriculum.total_tokens == clock


def test_a_micro_batch_of_a_stages_own_is_the_most_in_every_phase() -> None:
    """72, 144, ... 576 sequences on 8 devices: 9 to 72 of each."""
    overrides = [f"{KEY}=[147456,147456,50e9]", "curriculum.stages.stage1.micro_batch_size=4"]
    [stage, *_] = Curriculum.from_config(load_config("danube_1_8b", overrides)).stages
    assert [phase.micro_batch_size for phase in stage.phases] == [3, 3, 3, 4, 3, 3, 3, 4]
    assert [phase.num_microbatches for phase in stage.phases] == [3, 6, 9, 9, 15, 18, 21, 18]


def test_a_stage_behind_the_ramp_may_have_a_batch_of_its_own() -> None:
    """Smaller than the ramp's first, or not on the way."""
    for own in (98_304, 1_310_720):
        overrides = [f"{KEY}=[147456,147456,600e9]", f"curriculum.stages.stage2.global_batch_tokens={own}"]
        stages = Curriculum.from_config(load_config("danube_1_8b", overrides)).stages
        assert [len(stage.phases) for stage in stages] == [8, 1, 1, 1]
        assert [stage.global_batch_tokens for stage in stages[1:]] == [own, 1_179_648, 1_179_648]
        steps = sum(stage.steps for stage in stages) - 5
        cut = load_config("danube_1_8b", [*overrides, f"trainer.max_steps={steps}"])
        assert Curriculum.from_config(cut).total_steps == steps


INTERLEAVED = [
    "model.fp8=null",
    "model.pipeline_model_parallel_size=4",
    "model.virtual_pipeline_model_parallel_size=2",
]
SHORTER = ["model.encoder_seq_length=5000", "trainer.devices=8"]
REFUSED: list[tuple[list[str], str, str]] = [
    (["[147456,147457,50e9]"], f"{KEY}=[147456,147457,50000000000]", "do not come out even between 147456 and"),
    (["[1179648,147456,50e9]"], f"{KEY}=[1179648,147456,50000000000]", "not below model.global_batch_tokens=1179648"),
    (["[2359296,147456,50e9]"], f"{KEY}=[2359296,147456,50000000000]", "not below model.global_batch_tokens=1179648"),
    (["[147456,147456,1000000000001]"], f"{KEY}=[147456,147456,1000000000001]", "the curriculum has 1000000000000"),
    (["[1024,1178624,50e9]"], f"{KEY}=[1024,1178624,50000000000]", "encoder_seq_length=2048 does not divide"),
    (["[16384,2048,50e9]"], f"{KEY}=[16384,2048,50000000000]", "9 sequences, and data-parallel size = 8"),
    (
        ["[6144,6144,50e9]", *INTERLEAVED],
        f"{KEY}=[6144,6144,50000000000]",
        "3 sequences, and data-parallel size = 2",
    ),
    (
        ["[12288,12288,50e9]", *INTERLEAVED],
        f"{KEY}=[12288,12288,50000000000]",
        "3 sequences a device, and model.virtual_pipeline_model_parallel_size=2 takes micro-batches 4 at a time",
    ),
    (
        ["[147456,147456,50e9]", "curriculum.stages.stage1.global_batch_tokens=1179648"],
        "curriculum.stages.stage1.global_batch_tokens=1179648",
        "begins at 0 tokens, inside the ramp",
    ),
    (
        ["[147456,147456,701e9]", "curriculum.stages.stage2.global_batch_tokens=589824"],
        "curriculum.stages.stage2.global_batch_tokens=589824",
        f"end the ramp by then: {KEY}=[147456,147456,700000000000]",
    ),
    (
        ["[120000,120000,50e9]", "model.global_batch_tokens=1_200_000", "model.micro_batch_size=10", *SHORTER],
        "model.encoder_seq_length=5000",
        "makes a matrix of 15000 rows or columns on a device, and FP8 takes multiples of 16",
    ),
    *(
        ([value], f"{KEY}={value}", "[first, increment, tokens], three whole numbers above 0")
        for value in ("7", "abc", "[]", "[1,2]", "[1,2,3,4]", "[0,2,3]", "[-1,2,3]", "[1.5,2,3]", "[true,2,3]")
    ),
    (["{a: 1}"], f"{KEY}={{a: 1}}", "[first, increment, tokens]"),
]


def refusal(ramp: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config("danube_1_8b", [f"{KEY}={ramp}", *overrides])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("given", "names", "why"), REFUSED)
def test_refused_with_a_ramp_that_would_do(given: list[str], names: str, why: str) -> None:
    message = refusal(*given)
    assert message.startswith(f"{names}: ")
    assert why in message
    for proposal in re.findall(rf"(?:as|with|then:) ({KEY}=\S+)$", message):
        load_config("danube_1_8b", [*given[1:], proposal])


@given(
    first=st.integers(1, 40_000),
    increment=st.integers(1, 40_000),
    tokens=st.integers(1, 10**7),
    devices=st.sampled_from([1, 2, 4]),
)
@settings(deadline=None, max_examples=60)
def test_whatever_is_proposed_is_accepted(first: int, increment: int, tokens: int, devices: int) -> None:
    plain = {
        **REHEARSAL,
        "trainer": {**REHEARSAL["trainer"], "devices": devices},
        "model": {**REHEARSAL["model"], "rampup_batch_tokens": [first, increment, tokens]},
    }
    for _ in range(3):
        try:
            validate(plain)
            return
        except UserError as error:
            [numbers] = re.findall(rf"{re.escape(KEY)}=\[([\d,]+)\]$", str(error))
            plain["model"] = {**plain["model"], "rampup_batch_tokens": list(map(int, numbers.split(",")))}
    raise AssertionError("every proposal is refused again")


def test_devices_that_are_named_divide_the_phases_too() -> None:
    """72 sequences to begin with and 576 in the end, on 5 devices."""
    message = refusal("[98304,98304,50e9]", "trainer.devices=5", "model.encoder_seq_length=2048")
    for number in re.findall(r"such as trainer.devices=(\d+) or (\d+)", message)[0]:
        load_config(
            "danube_1_8b", [f"{KEY}=[98304,98304,50e9]", "model.encoder_seq_length=2048", f"trainer.devices={number}"]
        )


def test_null_is_no_ramp() -> None:
    assert load_config("danube_1_8b", [f"{KEY}=null"]) == load_config("danube_1_8b")
    assert all(stage.phases == (stage,) for stage in Curriculum.from_config(load_config("danube_1_8b")).stages)
