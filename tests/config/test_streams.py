"""A sample's stream and its place there, against a walk over the steps."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.load import load_config
from custom_modules.config.rampup import BatchRampup
from custom_modules.config.recompute import Recompute
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.streams import StageStreams


def make_stage(length: int, batch: int, budget: int, start: int, rampup: BatchRampup | None) -> Stage:
    return Stage("one", budget, length, batch, 1, 1, start, Recompute(), rampup)


@settings(deadline=None, max_examples=60)
@given(
    every=st.integers(2, 7),
    first=st.integers(1, 4),
    levels=st.integers(0, 5),
    increment=st.integers(1, 3),
    budget=st.integers(1, 600),
    over=st.integers(1, 400),
    start=st.integers(0, 50),
)
def test_each_sample_has_the_place_that_a_walk_gives_it(
    every: int, first: int, levels: int, increment: int, budget: int, over: int, start: int
) -> None:
    """Batches are wholly of one stream, and each stream is read in its order without a gap, under a ramp too."""
    length = 4
    ramp = BatchRampup(first * length, increment * length, over * length) if levels else None
    stage = make_stage(length, (first + levels * increment) * length, budget * length, start * length, ramp)
    streams = StageStreams(stage, every)
    expected, before, counts, step = [], [], {"plain": 0, "distilled": 0}, 0
    for phase in stage.phases:
        for _ in range(phase.steps):
            step += 1
            stream = "plain" if step % every else "distilled"
            for _ in range(phase.global_batch_size):
                expected.append((stream, counts[stream]))
                before.append(dict(counts))
                counts[stream] += 1
    assert [streams.place(sample) for sample in range(stage.num_samples)] == expected
    assert [streams.read_before(sample) for sample in range(stage.num_samples)] == before
    assert streams.read_before(stage.num_samples) == counts
    assert {"plain": streams.samples("plain"), "distilled": streams.samples("distilled")} == counts


def test_a_fourth_of_the_reports_tokens_is_distilled() -> None:
    overrides = ["data.max_epochs=2", "model.rampup_batch_tokens=[262144,262144,50_000_000_000]"]
    for stage in Curriculum.from_config(load_config("loki_1_4b", [*overrides, "model.micro_batch_size=1"])).stages:
        share = StageStreams(stage, 4).distilled_samples / stage.num_samples
        assert abs(share - 1 / 4) < 2e-4
