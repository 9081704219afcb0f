"""Exact bounds on a rate from counts (Clopper and Pearson 1934, Biometrika 26:404)."""

from math import ceil, exp, lgamma, log, log1p
from typing import Final

ASSURANCE: Final = 0.95
"""The one-sided confidence with which a missed-defect rate is bounded."""
_NEGLIGIBLE: Final = 1e-17


def cumulative(successes: int, trials: int, rate: float) -> float:
    """P(X <= successes) for X binomial in `trials` at `rate`.

    The smaller tail is summed, from its largest term to where terms are too small to count.
    """
    if successes >= trials or rate <= 0:
        return 1.0
    if successes < 0 or rate >= 1:
        return 0.0
    if successes < trials * rate:
        return min(1.0, _lower_tail(successes, trials, rate))
    # P(X > successes), counted from the other side.
    return max(0.0, 1.0 - _lower_tail(trials - successes - 1, trials, 1 - rate))


def upper_bound(successes: int, trials: int, *, assurance: float = ASSURANCE) -> float:
    """The rate that is not exceeded, with this one-sided assurance; 1 when nothing was tried."""
    if successes >= trials:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if cumulative(successes, trials, middle) > 1 - assurance:
            low = middle
        else:
            high = middle
    return high


def interval(successes: int, trials: int) -> tuple[float, float]:
    """The two-sided 95 % interval of a rate: each side is wrong at most one time in forty."""
    one_sided = 1 - (1 - ASSURANCE) / 2
    upper = upper_bound(successes, trials, assurance=one_sided)
    lower = 1 - upper_bound(trials - successes, trials, assurance=one_sided)
    return lower, upper


def most_misses_allowed(trials: int, max_rate: float) -> int | None:
    """The most misses in `trials` that still bound the true rate by `max_rate`, above 0 to below 1.

    None when not even zero misses will do: 0.5 % needs 598 trials.
    """
    total = 0.0
    allowed = None
    for misses in range(trials + 1):
        total += _probability(misses, trials, max_rate)
        if total > 1 - ASSURANCE:
            break
        allowed = misses
    return allowed


def trials_needed(max_rate: float) -> int:
    """The fewest trials that bound the true rate by `max_rate`, above 0 to below 1, without a miss."""
    return ceil(log(1 - ASSURANCE) / log1p(-max_rate))


def _probability(successes: int, trials: int, rate: float) -> float:
    ways = lgamma(trials + 1) - lgamma(successes + 1) - lgamma(trials - successes + 1)
    return exp(ways + successes * log(rate) + (trials - successes) * log1p(-rate))


def _lower_tail(successes: int, trials: int, rate: float) -> float:
    """P(X <= successes), where successes are fewer than are expected, or one more."""
    term = _probability(successes, trials, rate)
    total = term
    for k in range(successes, 0, -1):
        term *= k / (trials - k + 1) * (1 - rate) / rate
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return total
