"""Standard errors, tests and the bootstrap against other ways to compute the same."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_modules.evaluation.statistics import (
    bootstrap,
    degrees_of_mean,
    holm,
    interval,
    least_told_apart,
    mcnemar,
    mcnemar_threshold,
    mean_standard_error,
    proportion_error,
    ratio_error,
    standard_error,
    two_sided,
)


def by_enumeration(won: int, lost: int) -> Fraction:
    """The share of all ways to toss a coin that are at least as uneven."""
    tosses = won + lost
    ways = sum(math.comb(tosses, k) for k in range(tosses + 1) if abs(2 * k - tosses) >= abs(won - lost))
    return Fraction(ways, 2**tosses)


def test_mcnemar_is_the_share_of_coin_tosses_as_uneven() -> None:
    for won, lost in product(range(13), repeat=2):
        assert mcnemar(won, lost) == float(by_enumeration(won, lost))


def test_mcnemar_is_scipys_binomial_test_also_of_many() -> None:
    stats = pytest.importorskip("scipy.stats")
    for won, lost in [(0, 0), (5, 0), (250, 300), (1_500, 1_300), (4_000, 4_001), (7_000, 3_000)]:
        expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
        assert mcnemar(won, lost) == pytest.approx(expected, rel=1e-9)


@given(discordant=st.integers(0, 300), level=st.floats(0.0005, 0.5))
def test_the_least_surplus_that_is_told_from_chance(discordant: int, level: float) -> None:
    surplus = mcnemar_threshold(discordant, level)
    if surplus <= discordant:
        assert (surplus - discordant) % 2 == 0
        assert mcnemar((discordant + surplus) // 2, (discordant - surplus) // 2) <= level
        less = surplus - 2
        assert mcnemar((discordant + less) // 2, (discordant - less) // 2) > level
    else:  # too few differ, even all on one side
        assert mcnemar(discordant, 0) > level
        assert mcnemar(surplus, 0) <= level < mcnemar(surplus - 1, 0)


@pytest.mark.parametrize("degrees", [1, 2, 3, 7.5, 99, 1_171, 14_041, 500_000])
def test_students_test_is_scipys(degrees: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    for t in (0.0, 0.001, 0.3, 1.0, 1.96, 2.5, 5.0, 16.0, 40.0):
        assert two_sided(-2 * t, 2.0, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-7, abs=1e-290)
    for level in (0.2, 0.05, 0.05 / 8):
        assert least_told_apart(2.0, degrees, level) == pytest.approx(2 * stats.t.isf(level / 2, degrees), rel=1e-6)


def test_students_test_has_its_known_values() -> None:
    """Of one degree it is Cauchy's, of two it has a closed form, and of many it is the normal one."""
    for t in (0.1, 1.0, 6.3):
        assert two_sided(t, 1.0, 1) == pytest.approx(1 - 2 * math.atan(t) / math.pi)
        assert two_sided(t, 1.0, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t))
        assert two_sided(t, 1.0, math.inf) == pytest.approx(two_sided(t, 1.0, 1e9), rel=1e-4)
    assert two_sided(1.959964, 1.0, math.inf) == pytest.approx(0.05, abs=1e-6)
    assert (two_sided(0.0, 0.0, 3), two_sided(0.1, 0.0, 3), two_sided(0.1, math.nan, 0)) == (1.0, 0.0, 1.0)
    assert least_told_apart(0.0, 3, 0.05) == 0 and math.isnan(least_told_apart(math.nan, 0, 0.05))


def test_degrees_of_freedom_of_a_mean() -> None:
    """Of equal parts they add up; a part that does not vary has none of them, nor has it its degrees."""
    assert degrees_of_mean([0.1, 0.1, 0.1], [9, 9, 9]) == pytest.approx(27)
    assert degrees_of_mean([0.1, 0.0], [9, 99]) == pytest.approx(9)
    assert degrees_of_mean([0.0, 0.0], [9, 99]) == math.inf
    welch = (0.2**2 + 0.1**2) ** 2 / (0.2**4 / 5 + 0.1**4 / 50)
    assert degrees_of_mean([0.2, 0.1], [5, 50]) == pytest.approx(welch)


def holm_by_steps(p_values: list[float], level: float) -> set[int]:
    """Reject one after another, from the least, until one is too large for those that are left."""
    rejected: set[int] = set()
    while len(rejected) < len(p_values):
        left = [place for place in range(len(p_values)) if place not in rejected]
        least = min(left, key=lambda place: p_values[place])
        if p_values[least] > level / len(left):
            break
        rejected.add(least)
    return rejected


@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_steps_reject(p_values: list[float], level: float) -> None:
    corrected = holm(p_values)
    assert {place for place, p in enumerate(corrected) if p <= level} == holm_by_steps(p_values, level)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))


def test_standard_errors() -> None:
    values = np.array([1.0, 0, 0, 1, 1, 0, 1, 1])
    share = values.mean()
    assert standard_error(values) == pytest.approx(math.sqrt(share * (1 - share) / (len(values) - 1)))
    assert proportion_error(share, 8) == pytest.approx(math.sqrt(share * (1 - share) / 8))
    assert math.isnan(standard_error(values[:1]))
    assert mean_standard_error([3.0, 4.0]) == pytest.approx(2.5)


def test_the_error_of_a_ratio_is_the_jackknifes() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 40, 500).astype(float)
    numerators = lengths * generator.normal(0.3, 0.2, 500)
    without = (numerators.sum() - numerators) / (lengths.sum() - lengths)
    jackknife = math.sqrt(499 / 500 * ((without - without.mean()) ** 2).sum())
    assert ratio_error(numerators, lengths) == pytest.approx(jackknife, rel=0.01)
    assert math.isnan(ratio_error(numerators[:1], lengths[:1]))


def test_the_bootstrap_spreads_as_the_standard_error_says() -> None:
    generator = np.random.default_rng(1)
    differences = generator.choice([-1.0, 0.0, 1.0], 900, p=[0.1, 0.7, 0.2])
    draws = bootstrap([differences], [1.0], seed=(0, 0))
    assert draws.shape == (2_000,)
    assert draws.mean() == pytest.approx(differences.mean(), abs=0.002)
    assert draws.std() == pytest.approx(standard_error(differences), rel=0.05)
    low, high = interval(draws, 0.95)
    error = 1.96 * standard_error(differences)
    assert (low, high) == pytest.approx((differences.mean() - error, differences.mean() + error), abs=0.005)


def test_the_bootstrap_keeps_strata_apart() -> None:
    """Leaves that do not vary by themselves do not vary drawn anew, however far apart they are."""
    leaves = [np.zeros(5), np.ones(3)]
    assert (bootstrap(leaves, [0.5, 0.5], seed=(0, 0), resamples=50) == 0.5).all()
    assert (bootstrap([np.full(4, 0.25)], [1.0], seed=(3, 0), resamples=7) == 0.25).all()


def test_the_bootstrap_is_the_same_in_pieces() -> None:
    """More items than are drawn at a time: every resample is there, and the same again."""
    values = np.random.default_rng(2).normal(size=400_000)
    first, again = (bootstrap([values], [1.0], seed=(5, 0), resamples=7) for _ in range(2))
    assert (first == again).all() and len(set(first)) == 7
    assert np.abs(first - values.mean()).max() < 6 * standard_error(values)
