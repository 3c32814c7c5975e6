"""The speed that a recipe reports, and planning where it reports none."""

from __future__ import annotations

import pytest

from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.plan.duration import DEFAULT_MFU
from custom_modules.plan.plan import Plan, build_plan
from custom_modules.plan.render import render_text

OWN = "reported={tokens_per_second: 100000, gpus: 4, gpu: a100-80gb, section: section 9, recipe: null}"
OTHER_SIZE = ["model.num_layers=12", "model.fp8=null"]


def plan_of(*overrides: str, mfu: float | None = None, name: str = "danube_1_8b") -> Plan:
    return build_plan(load_config(name, overrides), mfu=mfu)


def test_a_recipe_that_reports_no_speed() -> None:
    plan = plan_of("reported=null")
    assert plan.reported is None
    assert plan.speed is not None
    assert (plan.speed.mfu, plan.speed.mfu_is_given, plan.speed.device) == (DEFAULT_MFU, False, "H100 SXM")
    assert plan.device_hours == pytest.approx(plan.flops / (989.4e12 * DEFAULT_MFU) / 3600, rel=1e-12)
    text = render_text(plan)
    assert "MFU         assumed, as the recipe has no `reported` speed" in text
    assert "section 4" not in text
    given = plan_of("reported=null", mfu=0.5)
    assert "MFU         as given" in render_text(given)
    assert given.device_hours == pytest.approx((plan.device_hours or 0) * DEFAULT_MFU / 0.5, rel=1e-12)


def test_a_speed_of_this_very_run() -> None:
    """Its own FLOPs count: at the reported MFU it takes as long as reported, on the reported GPU."""
    plan = plan_of(OWN, "trainer.devices=4", *OTHER_SIZE)
    assert plan.speed is not None
    assert plan.speed.device == "A100 80GB"
    assert plan.tokens_per_second == pytest.approx(100_000, rel=1e-12)
    assert "100,000 tokens/s on 4 x A100 80GB (section 9), 25,000.0 a GPU" in render_text(plan)


@pytest.mark.parametrize("name", ["danube_1_8b", "danube2", "danube_rehearsal", "danube2_rehearsal"])
def test_a_recipe_that_builds_on_another_keeps_what_was_reported_of_that(name: str) -> None:
    assert plan_of(name=name).reported == plan_of().reported
    assert plan_of(*OTHER_SIZE).reported == plan_of().reported


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reported.gpu=T4", "reported.gpu=T4: not in the table of H100"),
        ("reported.recipe=danube_9b", "reported.recipe=danube_9b: .*there are: danube2"),
    ],
)
def test_what_was_reported_must_be_known(override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        plan_of(override)


@pytest.mark.parametrize("override", ["reported.tokens_per_second=0", "reported.gpus=none", "reported.node=1"])
def test_a_wrong_report_is_named(override: str) -> None:
    with pytest.raises(UserError, match=f"^{override}: "):
        load_config("danube_1_8b", [override])


def test_a_report_above_the_peak_is_said_and_not_planned_with() -> None:
    """LokiLM: 500B tokens of 1.4B parameters on 8 A100s in 8 days."""
    plan = plan_of(name="loki_1_4b")
    assert plan.reported is not None and plan.speed is not None
    peak = 8 * 312e12 * 8 * 86_400
    training = plan.flops - plan.scoring_flops
    assert plan.reported.mfu == pytest.approx(training / peak, rel=1e-5)
    assert training == pytest.approx(4.198e21, rel=1e-3)
    assert (plan.speed.device, plan.speed.mfu) == ("A100 80GB", DEFAULT_MFU)
    (said,) = [line for line in render_text(plan).splitlines() if "the paper " in line]
    assert "8 days on 8 x A100 80GB (section 2.3): 4.198e+21 FLOPs are 243% of their bf16 peak" in said
    assert said.endswith("at an MFU of 50% 38.9 days")
    alone = plan_of("distillation.teachers={}", name="loki_1_4b", mfu=0.5)
    assert alone.device_hours == pytest.approx(38.9 * 24 * 8, rel=1e-3)


def test_every_recipe_is_compared_with_its_own_report() -> None:
    assert "292,700" in render_text(plan_of()) and "292,700" not in render_text(plan_of(name="loki_1_4b"))


def test_a_duration_is_a_speed() -> None:
    """A run that fits the peak takes at the reported MFU as long as reported, on the reported GPUs."""
    plan = plan_of("reported.tokens_per_second=null", "reported.days=1000", "reported.recipe=null")
    assert plan.device_hours == pytest.approx(1000 * 24 * 8, rel=1e-9)
    assert "MFU         assumed: what the paper's throughput implies" in render_text(plan)


@pytest.mark.parametrize(
    ("override", "key"),
    [("reported.days=8", "reported.days=8"), ("reported.tokens_per_second=null", "reported.tokens_per_second=null")],
)
def test_a_report_has_a_speed_or_a_duration(override: str, key: str) -> None:
    with pytest.raises(UserError, match=f"^{key}.*: a report has tokens_per_second or days: "):
        load_config("danube_1_8b", [override])


def test_fp8_is_priced_where_it_is_and_bf16_where_it_is_not() -> None:
    plan = plan_of(name="loki_1_4b", mfu=0.5)
    bf16, fp8 = plan.prices
    assert (bf16.device, bf16.fp8, fp8.device, fp8.fp8) == ("A100 80GB", None, "H100 SXM", "hybrid")
    assert bf16.device_hours == pytest.approx(plan.flops / (312e12 / 2) / 3600, rel=1e-12)
    assert fp8.device_hours == pytest.approx(plan.flops / (989.4e12 / 2) / 3600, rel=1e-12)
    alone = build_plan(load_config("loki_1_4b", ["model.fp8=null"]))
    assert bf16.memory == max(stage.memory.total for stage in alone.stages)
    assert fp8.memory == max(stage.memory.total for stage in plan.stages)
    lines = [line for line in render_text(plan).splitlines() if line.startswith("  price ")]
    assert len(lines) == 2 and "model.fp8=null" in lines[0] and "in FP8 (hybrid)" in lines[1]
    assert alone.prices == plan_of().prices == ()
    assert build_plan(load_config("loki_1_4b"), gpu="H100").prices == ()
