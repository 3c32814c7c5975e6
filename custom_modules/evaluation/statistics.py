"""How sure a figure is, and a difference of two: standard errors, exact and corrected tests, a paired bootstrap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RESAMPLES = 2_000
_AT_ONCE = 1 << 20
"""Items that are drawn at a time."""


def standard_error(values: Values) -> float:
    """Return the standard error of the mean of independent items; NaN of fewer than two."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def mean_standard_error(errors: Sequence[float]) -> float:
    """Return the standard error of the plain mean of independent figures."""
    return math.sqrt(sum(error**2 for error in errors)) / len(errors)


def proportion_error(share: float, items: int) -> float:
    """Return the standard error of a share of items that are each right or wrong."""
    return math.sqrt(share * (1 - share) / items)


def mcnemar(won: int, lost: int) -> float:
    """Return the p value of McNemar's exact test, two-sided: of won and lost items being equally likely."""
    discordant, fewer = won + lost, min(won, lost)
    if won == lost:
        return 1.0
    term = total = 1
    for k in range(fewer):
        term = term * (discordant - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / 2**discordant)


def mcnemar_threshold(discordant: int, level: float) -> int:
    """Return the least surplus of won over lost items that McNemar's exact test tells from chance.

    Args:
        discordant: items that one of the two has right and the other has not. If even all of them on one side are too
            few, the surplus is that of as many as it takes, all on one side.
        level: of the test, two-sided.
    """
    low, high = discordant // 2, discordant + 1
    while high - low > 1:
        won = (low + high) // 2
        low, high = (low, won) if mcnemar(won, discordant - won) <= level else (won, high)
    return math.ceil(1 - math.log2(level)) if high > discordant else 2 * high - discordant


def two_sided(difference: float, error: float, degrees: float) -> float:
    """Return the p value of a difference by Student's t; 1 where its standard error is not known.

    Args:
        error: the difference's standard error.
        degrees: of freedom of the standard error.
    """
    if math.isnan(error):
        return 1.0
    if error == 0:
        return float(difference == 0)
    return _two_tails(difference / error, degrees)


def least_told_apart(error: float, degrees: float, level: float) -> float:
    """Return the difference that Student's t just tells from none, two-sided; NaN where its standard error is."""
    if math.isnan(error):
        return math.nan
    low, high = 0.0, 1.0
    while _two_tails(high, degrees) > level:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _two_tails(middle, degrees) > level else (low, middle)
    return error * high


def degrees_of_mean(errors: Sequence[float], degrees: Sequence[float]) -> float:
    """Return the degrees of freedom of a mean's standard error, by Welch and Satterthwaite; 0 where it is not known."""
    if any(map(math.isnan, errors)):
        return 0.0
    variances = [error**2 for error in errors]
    shares = sum(variance**2 / each for variance, each in zip(variances, degrees, strict=True) if variance)
    return sum(variances) ** 2 / shares if shares else math.inf


def _two_tails(t: float, degrees: float) -> float:
    """Return how likely Student's t is as far from 0: the regularised incomplete beta function I_x(degrees / 2, 1 / 2)
    at x = degrees / (degrees + t^2), by its continued fraction."""
    if math.isinf(degrees):
        return math.erfc(abs(t) / math.sqrt(2))
    x = degrees / (degrees + t * t)
    a, b = degrees / 2, 0.5
    return _beta(a, b, x) if x < (a + 1) / (a + b + 2) else 1 - _beta(b, a, 1 - x)


def _beta(a: float, b: float, x: float) -> float:
    """Return I_x(a, b) for an x below (a + 1) / (a + b + 2), where the fraction converges."""
    if x == 0:
        return 0.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    # Lentz's way to go through the fraction from its front.
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in itertools.count(1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            value *= c * d
        if abs(value - before) <= 1e-15 * abs(value):
            return front * value
    raise AssertionError


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down method, in their order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def bootstrap(
    strata: Sequence[Values], weights: Sequence[float], seed: Sequence[int], resamples: int = RESAMPLES
) -> Values:
    """Draw the items of each stratum anew, with replacement, and return the weighted sum of the means, float64
    ``[resamples]``.

    Args:
        strata: values by item; differences of two models make the bootstrap a paired one.
        weights: of each stratum's mean.
        seed: of the generator.
    """
    generator = np.random.default_rng(seed)
    sums = np.zeros(resamples)
    for values, weight in zip(strata, weights, strict=True):
        rows = max(1, _AT_ONCE // len(values))
        for start in range(0, resamples, rows):
            count = min(rows, resamples - start)
            drawn = values[generator.integers(0, len(values), (count, len(values)))]
            sums[start : start + count] += weight * drawn.mean(axis=1)
    return sums


def interval(draws: Values, coverage: float) -> tuple[float, float]:
    """Return the percentile interval of a bootstrap's draws."""
    low, high = np.quantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


def ratio_error(numerators: Values, denominators: Values) -> float:
    """Return the standard error of the sum of one over the sum of the other, by linearisation; NaN of fewer than two
    items."""
    count, total = len(numerators), float(denominators.sum())
    if count < 2:
        return math.nan
    residuals = numerators - denominators * (float(numerators.sum()) / total)
    return math.sqrt(count / (count - 1) * float((residuals**2).sum())) / total
