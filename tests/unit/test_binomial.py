from fractions import Fraction
from math import comb

import pytest

from models.binomial import cumulative, interval, most_misses_allowed, trials_needed, upper_bound

FINE = Fraction(1, 10**7)


def fraction(rate: float) -> Fraction:
    """The rate as it is written, in nine places."""
    return Fraction(f"{rate:.9f}")


def exact(successes: int, trials: int, rate: Fraction) -> Fraction:
    """P(X <= successes), summed in whole numbers."""
    hit, miss = rate.numerator, rate.denominator - rate.numerator
    ways = sum(comb(trials, k) * hit**k * miss ** (trials - k) for k in range(successes + 1))
    return Fraction(ways, rate.denominator**trials)


COUNTS = [(0, 1), (0, 20), (1, 20), (3, 20), (19, 20), (10, 100), (50, 100), (2, 150)]
counts = pytest.mark.parametrize(("successes", "trials"), COUNTS)


@counts
@pytest.mark.parametrize("rate", [0.005, 0.1, 0.5, 0.9])
def test_the_cumulative_probability_is_the_exact_sum(
    successes: int, trials: int, rate: float
) -> None:
    expected = float(exact(successes, trials, fraction(rate)))
    assert cumulative(successes, trials, rate) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("successes", "rate", "expected"), [(20, 0.3, 1), (-1, 0.3, 0), (3, 0.0, 1), (3, 1.0, 0)]
)
def test_the_ends_of_the_range_are_certain(successes: int, rate: float, expected: float) -> None:
    assert cumulative(successes, 20, rate) == expected


@counts
@pytest.mark.parametrize("assurance", [0.9, 0.95, 0.975])
def test_the_upper_bound_is_where_so_few_would_be_that_unlikely(
    successes: int, trials: int, assurance: float
) -> None:
    """Clopper and Pearson's definition: P(X <= successes) at the bound is 1 - assurance."""
    bound = fraction(upper_bound(successes, trials, assurance=assurance))
    unlikely = 1 - fraction(assurance)
    assert (
        exact(successes, trials, bound + FINE) < unlikely < exact(successes, trials, bound - FINE)
    )


@pytest.mark.parametrize("trials", [1, 10, 59, 598])
def test_without_a_miss_the_bound_has_a_closed_form(trials: int) -> None:
    assert upper_bound(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials), abs=1e-8)


@counts
def test_each_side_of_the_interval_is_wrong_one_time_in_forty(successes: int, trials: int) -> None:
    lower, upper = (fraction(end) for end in interval(successes, trials))
    tail = Fraction(25, 1000)
    assert 0 <= lower <= Fraction(successes, trials) <= upper <= 1
    assert exact(successes, trials, upper + FINE) < tail < exact(successes, trials, upper - FINE)
    if successes == 0:
        assert lower == 0
    else:
        at_least = [1 - exact(successes - 1, trials, lower + step) for step in (-FINE, FINE)]
        assert at_least[0] < tail < at_least[1]


def test_nothing_tried_says_nothing_about_the_rate() -> None:
    assert upper_bound(0, 0) == 1.0
    assert interval(0, 0) == (0.0, 1.0)


def test_all_succeeded_leaves_the_upper_end_open() -> None:
    lower, upper = interval(20, 20)
    assert upper == 1.0
    assert lower == pytest.approx(0.025 ** (1 / 20), abs=1e-8)


@pytest.mark.parametrize("max_rate", [0.005, 0.02, 0.3])
@pytest.mark.parametrize("trials", [0, 1, 8, 9, 148, 149, 600])
def test_as_many_misses_are_allowed_as_the_exact_bound_allows(trials: int, max_rate: float) -> None:
    allowed = most_misses_allowed(trials, max_rate)
    one_more = 0 if allowed is None else allowed + 1
    assert exact(one_more, trials, fraction(max_rate)) > Fraction(1, 20)
    if allowed is not None:
        assert exact(allowed, trials, fraction(max_rate)) <= Fraction(1, 20)


def test_half_a_percent_needs_598_defects_without_a_miss() -> None:
    assert most_misses_allowed(598, 0.005) == 0
    assert most_misses_allowed(597, 0.005) is None
    assert upper_bound(0, 598) <= 0.005 < upper_bound(0, 597)


@pytest.mark.parametrize("max_rate", [0.001, 0.005, 0.02, 0.05, 0.3, 0.9])
def test_with_fewer_trials_than_are_needed_nothing_can_be_promised(max_rate: float) -> None:
    needed = trials_needed(max_rate)
    assert most_misses_allowed(needed, max_rate) is not None
    assert most_misses_allowed(needed - 1, max_rate) is None
