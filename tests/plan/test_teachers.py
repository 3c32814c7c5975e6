"""What teachers cost, held against the figures of a run of LokiLM's size."""

from __future__ import annotations

import json

import pytest

from custom_modules.config.load import load_config
from custom_modules.plan.plan import build_plan
from custom_modules.plan.render import as_json, render_text

TEACHERS = (
    "distillation={{every_n_batches: 4, top_k: {k}, teachers: {{mistral_7b: {{targets: top_k, parameters: 7.24e9}}, "
    "llama2_13b: {{parameters: null}}, gpt_4: {{targets: text}}}}}}"
)


def test_bytes_and_hours() -> None:
    """500B tokens, read twice, a fourth of them distilled: 62.5B tokens; 2 FLOPs a parameter and token."""
    plan = build_plan(load_config("loki_1_4b", [TEACHERS.format(k=16)]), mfu=0.5, gpu="A100")
    mistral, llama, gpt = plan.teachers
    for price in plan.teachers:
        assert price.tokens == pytest.approx(62.5e9, rel=1e-3)
    assert mistral.bytes == llama.bytes == 48 * mistral.tokens
    assert 3 * mistral.bytes == pytest.approx(9e12, rel=2e-3)
    assert 3 * gpt.bytes == pytest.approx(0.375e12, rel=2e-3)
    assert mistral.device_hours == pytest.approx(2 * 7.24e9 * 62.5e9 / (0.5 * 312e12) / 3600, rel=2e-3)
    assert llama.device_hours is None and llama.device_hours_per_billion == pytest.approx(222.6, rel=1e-3)
    assert gpt.device_hours is None
    text = render_text(plan)
    assert "mistral_7b (top_k): 3.00 TB beside 62,4" in text and "1,611 device-hours" in text
    assert "gpt_4 (text): 125.00 GB" in text
    assert [price["name"] for price in json.loads(as_json(plan))["teachers"]] == ["mistral_7b", "llama2_13b", "gpt_4"]


def test_half_the_ids_take_half_the_room() -> None:
    sizes = [build_plan(load_config("loki_1_4b", [TEACHERS.format(k=k)])).teachers[0].bytes for k in (8, 16)]
    assert 2 * sizes[0] == sizes[1]


def test_a_run_without_teachers_has_no_price() -> None:
    plan = build_plan(load_config("danube_1_8b"))
    assert plan.teachers == () and "teachers" not in render_text(plan)


def test_passes_over_texts_are_counted_in_flops_and_hours() -> None:
    """GPT-4's text and the ground truth, forward, in every fourth batch: a third of training's FLOPs for each pass."""
    plan = build_plan(load_config("loki_1_4b"), mfu=0.5)
    alone = build_plan(load_config("loki_1_4b", ["distillation.teachers={}"]), mfu=0.5)
    rows = build_plan(load_config("loki_1_4b", ["~distillation.teachers.gpt_4"]), mfu=0.5)
    assert rows.flops == alone.flops and rows.scoring_flops == 0
    assert plan.flops - plan.scoring_flops == alone.flops
    assert plan.scoring_flops == pytest.approx(alone.flops * 2 / 3 / 4, rel=1e-4)
    assert plan.device_hours is not None and alone.device_hours is not None
    assert plan.device_hours / alone.device_hours == pytest.approx(7 / 6, rel=1e-4)
    assert sum(stage.scoring_flops for stage in plan.stages) == plan.scoring_flops
    assert "2 forward passes of each distilled sequence, without gradient, choose its text" in render_text(plan)
    assert "without gradient" not in render_text(rows)


def test_the_recipes_teachers_are_priced_without_being_asked() -> None:
    """By the shapes of their published configurations, without biases and with a head of its own."""

    def parameters(hidden: int, ffn: int, layers: int, keys: int) -> int:
        attention = 2 * hidden * hidden + 2 * hidden * keys
        return layers * (attention + 3 * hidden * ffn + 2 * hidden) + 2 * 32_000 * hidden + hidden

    teachers = build_plan(load_config("loki_1_4b"), mfu=0.5).teachers
    assert [teacher.parameters for teacher in teachers] == [
        parameters(4096, 14_336, 32, 8 * 128),
        parameters(5120, 13_824, 40, 5120),
        None,
    ]
    assert [teacher.device_hours for teacher in teachers[:2]] == pytest.approx([1611, 2894], rel=2e-3)
    rehearsed = build_plan(load_config("loki_rehearsal")).teachers
    assert [teacher.parameters for teacher in rehearsed] == [None] * 3
