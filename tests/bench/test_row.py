"""The paper's throughput beside what was measured, where it is the same model on the same GPU."""

from __future__ import annotations

import pytest

from custom_modules.bench.row import Row, make_row, whole_curriculum
from custom_modules.bench.table import render
from custom_modules.bench.timing import Timing
from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.plan import build_plan

H100 = "NVIDIA H100 80GB HBM3"


def timed(config: Config, stage: str, device: str, seconds: float, steps: int = 1, number: int = -1) -> Timing:
    """Return what a phase of a stage, by its index, would be measured as."""
    phase = Curriculum.from_config(config).stage(stage).phases[number]
    return Timing(
        device=device,
        data="random",
        seq_length=phase.seq_length,
        mean_length=phase.seq_length,
        tokens=(phase.global_batch_tokens,) * steps,
        seconds=(seconds,) * steps,
        loader_seconds=(0.001,) * steps,
        memory_bytes=2**36,
    )


def measured(device: str, *overrides: str) -> Row:
    """A stage of which every step took 4 s, of which 1 ms was waited."""
    config = load_config("danube_1_8b", overrides)
    return make_row("as configured", config, "stage1", timed(config, "stage1", device, 4.0, 3), None)


@pytest.mark.parametrize(
    ("device", "overrides", "reported"),
    [
        (H100, [], 36_587.5),
        (H100, ["model.fp8=null", "trainer.devices=4"], 36_587.5),
        (H100, ["model.num_layers=12"], None),
        (H100, ["model.num_layers=12", "reported.recipe=null"], 36_587.5),
        (H100, ["reported=null"], None),
        (H100, ["model.sliding_window=null"], None),
        ("NVIDIA H100 PCIe", [], None),
        ("NVIDIA A100-SXM4-80GB", [], None),
        ("CPU", [], None),
    ],
)
def test_where_the_report_is_set_beside_it(device: str, overrides: list[str], reported: float | None) -> None:
    figures = measured(device, *overrides).figures
    assert figures is not None
    assert figures.reported_tokens_per_second_per_device == reported


def test_mfu_is_of_the_dense_bf16_peak() -> None:
    figures = measured(H100).figures
    assert figures is not None
    assert figures.peak_tflops == 989.4
    assert figures.tokens_per_second == 1_179_648 / 4
    assert figures.mfu == pytest.approx(figures.tflops_per_device / 989.4)
    assert figures.loader_share == pytest.approx(0.001 / 4)


def test_phases_of_a_batch_that_grows_are_averaged_by_their_tokens() -> None:
    """Each shown with its batch, steps and accumulation; without one of them there is no average."""
    config = load_config("danube_1_8b", ["model.rampup_batch_tokens=[147456,147456,50e9]"])
    rows, seconds = [], 0.0
    stages = Curriculum.from_config(config).stages
    for stage in stages:
        for number, phase in enumerate(stage.phases):
            # 0.5 s a step, and 1 s for each micro-batch.
            step = 0.5 + phase.num_microbatches
            seconds += step * phase.steps
            timing = timed(config, stage.name, H100, step, number=number)
            rows.append(make_row("bf16", config, stage.name, timing, None, number))
    average = whole_curriculum(config, rows)
    assert average == pytest.approx(stages[-1].end_tokens / seconds)
    assert whole_curriculum(config, rows[1:]) is None
    assert [row.phase for row in rows] == [*range(1, 9), 1, 1, 1]
    text = "\n".join(render(rows, {"bf16": average}, 0))
    for phase in stages[0].phases:
        assert (
            f"{phase.steps:,} steps: 2,048 tokens a sequence, {phase.global_batch_tokens:,} tokens a step, "
            f"accumulation {phase.num_microbatches:,} of micro-batch {phase.micro_batch_size:,}\n"
        ) in text
    assert "stage1: phase 8 of 8, " in text
    assert "\nstage2: 4,096 tokens a sequence, 1,179,648 tokens a step\n" in text


def test_stages_at_the_reports_mfu_average_to_the_reports_throughput() -> None:
    config = load_config("danube_1_8b")
    plan = build_plan(config)
    rows = []
    for stage in plan.stages:
        assert stage.tokens_per_second is not None
        seconds = plan.global_batch_tokens / stage.tokens_per_second
        rows.append(make_row("bf16", config, stage.name, timed(config, stage.name, H100, seconds), None))
    assert whole_curriculum(config, rows) == pytest.approx(292_700)
    assert whole_curriculum(config, rows[:3]) is None
