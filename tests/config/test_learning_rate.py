"""One learning-rate curve over the whole curriculum."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.learning_rate import learning_rate
from custom_modules.config.load import load_config
from custom_modules.config.model_parts import OptimConfig
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum

RECIPE = load_config("danube_1_8b")
ROUNDING = 1e-14
REHEARSAL = load_config("danube_rehearsal")


def optim(lr: float, min_lr: float, warmup_tokens: int) -> OptimConfig:
    base = RECIPE.model.optim
    return base.model_copy(
        update={"lr": lr, "sched": base.sched.model_copy(update={"min_lr": min_lr, "warmup_tokens": warmup_tokens})}
    )


def test_the_recipes_landmarks() -> None:
    sched, total = RECIPE.model.optim, Curriculum.from_config(RECIPE).total_tokens
    assert learning_rate(sched, 1_179_648, total) == pytest.approx(2e-4 / 2000, rel=1e-12)
    assert learning_rate(sched, 2_359_296_000, total) == 2e-4
    assert learning_rate(sched, total, total) == 1e-5
    middle = (2_359_296_000 + total) // 2
    assert learning_rate(sched, middle, total) == pytest.approx((2e-4 + 1e-5) / 2, rel=1e-12)


@settings(deadline=None)
@given(
    peak=st.floats(1e-5, 1e-1),
    share=st.floats(0.0, 0.99),
    warmup=st.integers(0, 10**9),
    decay=st.integers(1, 10**12),
    at=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20),
)
def test_rises_to_the_peak_and_falls_to_the_minimum(
    peak: float, share: float, warmup: int, decay: int, at: list[float]
) -> None:
    schedule, total = optim(peak, share * peak, warmup), warmup + decay
    if warmup:
        rates = [learning_rate(schedule, round(part * warmup), total) for part in sorted(at)]
        assert rates == sorted(rates)
        assert learning_rate(schedule, warmup, total) == pytest.approx(peak, rel=ROUNDING)
    rates = [learning_rate(schedule, warmup + round(part * decay), total) for part in sorted(at)]
    assert all(later <= earlier * (1 + ROUNDING) for earlier, later in pairwise(rates))
    assert all(share * peak <= rate <= peak * (1 + ROUNDING) for rate in rates)
    assert learning_rate(schedule, total, total) == share * peak
    assert learning_rate(schedule, total + 1, total) == share * peak


@pytest.mark.parametrize("config", [RECIPE, REHEARSAL], ids=lambda config: config.name)
def test_does_not_jump_where_the_length_changes(config: Config) -> None:
    schedule, curriculum = config.model.optim, Curriculum.from_config(config)
    total, batch = curriculum.total_tokens, config.model.global_batch_tokens
    steepest = 0.5 * math.pi * (schedule.lr - schedule.sched.min_lr) * batch / (total - schedule.sched.warmup_tokens)
    for stage in curriculum.stages[:-1]:
        before, after = (learning_rate(schedule, stage.end_tokens + move, total) for move in (0, batch))
        assert 0 < before - after <= steepest


def test_is_megatrons_schedule_when_that_counts_tokens() -> None:
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    schedule, curriculum = REHEARSAL.model.optim, Curriculum.from_config(REHEARSAL)
    group = {"lr": 0.0, "weight_decay": 0.0, "max_lr": schedule.lr, "min_lr": schedule.sched.min_lr}
    scheduler = OptimizerParamScheduler(
        SimpleNamespace(param_groups=[group]),
        init_lr=0.0,
        max_lr=schedule.lr,
        min_lr=schedule.sched.min_lr,
        lr_warmup_steps=schedule.sched.warmup_tokens,
        lr_decay_steps=curriculum.total_tokens,
        lr_decay_style="cosine",
        start_wd=0.1,
        end_wd=0.1,
        wd_incr_steps=0,
        wd_incr_style="constant",
    )
    tokens = 0
    for stage in curriculum.stages:
        for _ in range(stage.steps):
            scheduler.step(increment=stage.global_batch_tokens)
            tokens += stage.global_batch_tokens
            assert group["lr"] == pytest.approx(
                learning_rate(schedule, tokens, curriculum.total_tokens), rel=0, abs=1e-15
            )
    assert tokens == curriculum.total_tokens
    assert group["lr"] == schedule.sched.min_lr
