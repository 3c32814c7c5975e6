"""Which steps are high and what is a spike, against numpy and on curves that are made for it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from custom_modules.config.loss_spike import LossSpikeConfig
from custom_modules.run_folder.spike_window import SpikeWindow
from custom_modules.training.spikes import Judgement, SpikeDetector

Floats = NDArray[np.float64]
BATCH = 512
"""Tokens of a step."""


def judged(losses: Iterable[float], norms: Iterable[float], detector: SpikeDetector) -> list[Judgement]:
    return [detector.judge(loss, norm, BATCH * n) for n, (loss, norm) in enumerate(zip(losses, norms, strict=True))]


def of_losses(losses: Iterable[float], **options: float) -> list[Judgement]:
    """All norms alike."""
    detector = SpikeDetector(LossSpikeConfig.model_validate(options))
    return [detector.judge(loss, 1.0, BATCH * n) for n, loss in enumerate(losses)]


def first_spike(judgements: list[Judgement]) -> int | None:
    return next((n for n, one in enumerate(judgements) if one.is_spike), None)


def by_numpy(losses: list[float], norms: list[float], options: LossSpikeConfig) -> list[tuple[bool, bool]]:
    """Whether each step is high, and a spike: the rule over the whole history again for each step."""
    kept: tuple[list[float], list[float]] = ([], [])
    high: list[bool] = []
    found = []
    for pair in zip(losses, norms, strict=True):
        over = []
        for value, known, least in zip(pair, kept, (lambda m: m + options.floor, lambda m: 2 * m), strict=True):
            last = np.array(known[-options.window :])
            enough = len(last) >= max(1, math.ceil(options.window / 2))
            middle = np.median(last) if enough else 0.0
            spread = 1.4826 * np.median(np.abs(last - middle)) if enough else 0.0
            limit = max(middle + options.deviations * spread, least(middle))
            over.append(not np.isfinite(value) or bool(enough and value > limit))
            if not over[-1]:
                known.append(value)
        high.append(any(over))
        run = high[::-1].index(False) if False in high else len(high)
        found.append((high[-1], not np.isfinite(pair).all() or run >= options.patience))
    return found


EXACT = st.integers(0, 64).map(lambda number: number / 16)
"""Numbers that add up without rounding."""
STEPS = st.lists(st.tuples(EXACT | st.just(math.inf) | st.just(math.nan), EXACT), max_size=60)
OPTIONS = st.builds(
    LossSpikeConfig,
    window=st.integers(1, 12),
    deviations=st.sampled_from([0.5, 2.0, 6.0]),
    floor=st.sampled_from([0.0, 0.25, 1.0]),
    patience=st.integers(1, 5),
)


@settings(deadline=None, max_examples=60)
@given(STEPS, OPTIONS)
def test_is_the_rule(steps: list[tuple[float, float]], options: LossSpikeConfig) -> None:
    losses, norms = [step[0] for step in steps], [step[1] for step in steps]
    found = judged(losses, norms, SpikeDetector(options))
    assert [(one.is_high, one.is_spike) for one in found] == by_numpy(losses, norms, options)
    assert all(bool(one.reason) == one.is_high for one in found)


@settings(deadline=None, max_examples=60)
@given(STEPS, OPTIONS, st.integers(0, 60))
def test_goes_on_from_a_checkpoint(steps: list[tuple[float, float]], options: LossSpikeConfig, stop: int) -> None:
    """What is written down of it is enough, at any step."""
    losses, norms = [step[0] for step in steps], [step[1] for step in steps]
    whole = judged(losses, norms, SpikeDetector(options))
    before = SpikeDetector(options)
    first = judged(losses[:stop], norms[:stop], before)
    written = json.loads(json.dumps(asdict(before.window)))
    behind = judged(losses[stop:], norms[stop:], SpikeDetector(options, SpikeWindow(**written)))
    assert first + behind == whole
    assert len(before.window.losses) <= options.window


@settings(deadline=None, max_examples=60)
@given(STEPS, OPTIONS, st.sampled_from([0.25, 8.0]), st.sampled_from([0.25, 4.0]))
def test_knows_no_level_of_losses_and_no_scale_of_norms(
    steps: list[tuple[float, float]], options: LossSpikeConfig, shift: float, factor: float
) -> None:
    losses, norms = [step[0] for step in steps], [step[1] for step in steps]
    plain = judged(losses, norms, SpikeDetector(options))
    moved = judged([loss + shift for loss in losses], [norm * factor for norm in norms], SpikeDetector(options))
    assert [(one.is_high, one.is_spike) for one in moved] == [(one.is_high, one.is_spike) for one in plain]


def test_only_steps_in_a_row_are_a_spike_and_the_first_is_remembered() -> None:
    detector = SpikeDetector(LossSpikeConfig())
    losses = [3.0] * 128 + [9.0] * 7 + [3.0] + [9.0] * 8
    found = judged(losses, [1.0] * len(losses), detector)
    assert first_spike(found) == len(losses) - 1
    assert [n for n, one in enumerate(found) if one.is_high] == [*range(128, 135), *range(136, 144)]
    assert (detector.window.high_steps, detector.window.first_high_tokens) == (8, 136 * BATCH)
    assert found[-1].reason == "loss=9.0000: above 3.2000"
    assert set(detector.window.losses) == {3.0}


@pytest.mark.parametrize("broken", [(math.nan, 1.0), (math.inf, 1.0), (3.0, math.nan), (3.0, -math.inf)])
def test_what_is_not_finite_is_a_spike_at_once(broken: tuple[float, float]) -> None:
    """The first step of a stage can be one, too; and no step is ever held against it."""
    detector = SpikeDetector(LossSpikeConfig())
    found = detector.judge(*broken, 0)
    assert found.is_spike and found.reason.endswith("not finite")
    assert all(map(math.isfinite, [*detector.window.losses, *detector.window.grad_norms]))


def curve(seed: int, steps: int, bad_batches: float = 0.0) -> Floats:
    """A loss that falls as losses do, with noise, and single bad batches among them."""
    random = np.random.default_rng(seed)
    time = np.arange(steps)
    bad = (random.random(steps) < bad_batches) * random.exponential(0.4, steps)
    falls: Floats = 1.75 + 6.5 * (time + 20) ** -0.35 + random.normal(0, 0.03, steps) + bad
    return falls


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_single_bad_batches_are_none(seed: int) -> None:
    found = of_losses(curve(seed, 3000, bad_batches=0.002))
    assert first_spike(found) is None
    assert any(one.is_high for one in found)


@pytest.mark.parametrize(("size", "within"), [(0.6, 12), (1.5, 10)])
def test_a_loss_that_rises_is_found_within_steps(size: float, within: int) -> None:
    """It rises over some steps, and comes down over hundreds by itself."""
    for seed in range(8):
        losses, begin = curve(seed, 700), 600
        behind = np.arange(len(losses) - begin)
        losses[begin:] += size * np.exp(-behind / 200) * (1 - np.exp(-(behind + 1) / 3))
        spike = first_spike(of_losses(losses))
        assert spike is not None and begin < spike <= begin + within, seed


def test_a_harder_mix_is_a_spike_unless_the_window_begins_anew() -> None:
    losses = curve(0, 1500)
    losses[1000:] += 0.5
    assert first_spike(of_losses(losses)) == 1007
    assert first_spike(of_losses(losses[1000:])) is None


def test_a_gradient_norm_is_held_against_its_own() -> None:
    """High from twice the median on, where the others scatter little, and from six deviations on, where they do."""
    even, scattered = [1.0] * 128, [0.5, 0.9, 1.1, 1.5] * 32
    for norms, high, not_high in ((even, 2.01, 1.99), (scattered, 3.7, 3.6)):
        for norm, expected in ((high, True), (not_high, False)):
            detector = SpikeDetector(LossSpikeConfig())
            assert not any(one.is_high for one in judged([3.0] * 128, norms, detector))
            found = detector.judge(3.0, norm, 0)
            assert found.is_high == expected
            assert ("grad_norm" in found.reason) == expected


def test_losses_fall_freely() -> None:
    """However fast, as at a run's begin."""
    losses = [10.0 * 0.9**n for n in range(200)]
    assert all(later < earlier for earlier, later in pairwise(losses))
    assert not any(one.is_high for one in of_losses(losses))
