"""When a run's tasks are scored, against its steps one by one; and their share of its FLOPs."""

from __future__ import annotations

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.flops import flops_per_sequence, total_flops
from custom_modules.plan.plan import build_plan
from custom_modules.plan.render import render_text
from custom_modules.plan.tasks import plan_tasks, scoring_flops, scorings
from custom_modules.tasks.sizes import documents_of
from tests.support.tiny import TINY

RAMP = "model.rampup_batch_tokens=[256,128,4000]"


def config_of(every: int, *overrides: str) -> Config:
    tasks = f"trainer.evaluate={{tasks: [piqa], every_n_tokens: {every}}}"
    return load_config("danube_rehearsal", [*TINY, "trainer.devices=1", "model.micro_batch_size=1", *overrides, tasks])


def step_by_step(config: Config, every: int) -> list[int]:
    """Every step's end at which one is due, and the beginning."""
    found, now = [0], 0
    for stage in Curriculum.from_config(config).stages:
        for phase in stage.phases:
            while now < phase.end_tokens:
                now += phase.global_batch_tokens
                if now // every > (now - phase.global_batch_tokens) // every or now == stage.end_tokens:
                    found.append(now)
    return found


@pytest.mark.parametrize("every", [1, 100, 512, 700, 1024, 3000, 3584, 7168, 10**9])
@pytest.mark.parametrize("overrides", [(), (RAMP,)])
def test_they_are_scored_where_a_step_passes_a_multiple(every: int, overrides: tuple[str, ...]) -> None:
    config = config_of(every, *overrides)
    whole = step_by_step(config, every)
    assert [*scorings(config)] == whole
    for consumed in (512, 1024, 7168, whole[-1]):
        assert [*scorings(config, consumed)] == [tokens for tokens in whole if tokens > consumed]


def test_none_without_tasks() -> None:
    config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1"])
    assert [*scorings(config)] == []
    assert plan_tasks(config, 0, 10**9).share == 0.0


def test_their_share_is_of_the_flops_that_are_left() -> None:
    config = config_of(1024)
    flops, total, times = 10**9, total_flops(config), len(step_by_step(config, 1024))
    plan = plan_tasks(config, 0, flops)
    assert plan.times == times
    assert plan.share == pytest.approx(times * flops / (times * flops + total))
    end = Curriculum.from_config(config).total_tokens
    assert plan_tasks(config, end, flops).share == 0.0
    last_step = 8 * flops_per_sequence(config.model, 64)
    assert plan_tasks(config, end - 512, flops).share == pytest.approx(flops / (flops + last_step))


@pytest.mark.parametrize(
    ("task", "limit", "documents"),
    [
        ("piqa", None, 1_838),
        ("piqa", 500, 500),
        ("openbookqa", 1_000, 500),
        ("truthfulqa_mc2", None, 817),
        ("mmlu", None, 14_042),
        ("mmlu", 100, 5_700),
        ("mmlu_anatomy", 500, 135),
        ("mine.jsonl", 20, 20),
        ("mine.jsonl", None, None),
    ],
)
def test_documents_of_known_sets(task: str, limit: int | None, documents: int | None) -> None:
    assert documents_of(task, limit) == documents


def test_the_plan_says_the_share_beforehand() -> None:
    config = config_of(1024)
    plan = build_plan(config)
    assert plan.tasks is not None
    assert (plan.tasks.times, plan.tasks.documents) == (len(step_by_step(config, 1024)), 500)
    assert plan.tasks.tokens == round(500 * 8_400_000 / 38_409)
    flops = plan.tasks.times * scoring_flops(config, -(-plan.tasks.tokens // 128), 128)
    assert plan.tasks.share == pytest.approx(flops / (flops + plan.flops))
    said = render_text(plan)
    assert f"piqa (trainer.evaluate), scored {plan.tasks.times} times:" in said
    assert f"{plan.tasks.share:.2%} of all FLOPs" in said
    without = build_plan(load_config("danube_rehearsal", [*TINY, "trainer.devices=1"]))
    assert without.tasks is None and "trainer.evaluate" not in render_text(without)
