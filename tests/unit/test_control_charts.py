"""The statistics of reports, held against textbooks and against chance itself."""

import random
from itertools import pairwise

import pytest

from daemon.reports.limits import Limits, Sample, laney_chart, p_chart
from daemon.reports.rules import signals

# Montgomery, Introduction to Statistical Quality Control, 6th ed., Wiley 2009, Example 7.1, Table 7.1:
# nonconforming cans in 30 samples of 50. Printed there: p = 0.2313, UCL = 0.4102, LCL = 0.0524;
# samples 15 and 23 plot above. Without these two: p = 0.2150, UCL = 0.3893, LCL = 0.0407, and
# sample 21 plots above.
CANS = (12, 15, 8, 10, 4, 7, 16, 9, 14, 10, 5, 6, 17, 12, 22)
CANS += (8, 10, 5, 13, 11, 20, 18, 24, 15, 9, 12, 7, 13, 9, 6)

# The same, section 7.2.2, Table 7.4: purchase orders with errors in 25 weeks of unequal size. Printed
# there: p = 234 / 2450 = 0.096; sample 11 plots above its limit of 0.180.
ORDERS = (100, 80, 80, 100, 110, 110, 100, 100, 90, 90, 110, 120, 120, 120, 110)
ORDERS += (80, 80, 80, 90, 100, 100, 100, 100, 90, 90)
WITH_ERRORS = (12, 8, 6, 9, 10, 12, 11, 16, 10, 6, 20, 15, 9, 8, 6)
WITH_ERRORS += (8, 10, 7, 5, 8, 5, 8, 10, 6, 9)


def samples(
    defects: tuple[int, ...] | list[int], inspected: tuple[int, ...] | list[int]
) -> list[Sample]:
    return [
        Sample(period=f"{number:03d}", inspected=n, defects=d)
        for number, (d, n) in enumerate(zip(defects, inspected, strict=True), start=1)
    ]


def beyond(limits: Limits) -> list[int]:
    broken = signals(limits, rules=(1,))
    return [
        int(point.sample.period) for point, by in zip(limits.samples, broken, strict=True) if by
    ]


def test_the_p_chart_of_cans_is_the_textbooks() -> None:
    chart = p_chart(samples(CANS, [50] * 30))
    assert chart.centre == pytest.approx(0.2313, abs=5e-5)
    for point in chart.samples:
        assert point.upper == pytest.approx(0.4102, abs=5e-5)
        assert point.lower == pytest.approx(0.0524, abs=5e-5)
    assert beyond(chart) == [15, 23]


def test_its_limits_without_the_two_samples_out_of_limits_are_the_textbooks() -> None:
    kept = [each for each in samples(CANS, [50] * 30) if each.period not in ("015", "023")]
    chart = p_chart(kept)
    assert chart.centre == pytest.approx(0.2150, abs=5e-5)
    assert chart.samples[0].upper == pytest.approx(0.3893, abs=1e-4)
    assert chart.samples[0].lower == pytest.approx(0.0407, abs=1e-4)
    assert beyond(chart) == [21]


def test_the_p_chart_of_samples_of_unequal_size_is_the_textbooks() -> None:
    chart = p_chart(samples(WITH_ERRORS, ORDERS))
    assert chart.centre == pytest.approx(0.096, abs=5e-4)
    by_size = {point.sample.inspected: point for point in chart.samples}
    assert by_size[110].upper == pytest.approx(0.180, abs=5e-4)
    assert by_size[80].lower == 0.0
    assert by_size[80].upper > by_size[120].upper
    assert beyond(chart) == [11]


def test_laneys_limits_are_those_of_the_p_chart_times_sigma_z() -> None:
    drawn = random.Random(4)  # noqa: S311 -- reproducible
    sizes = [drawn.randint(2000, 6000) for _ in range(40)]
    defects = [round(n * (0.10 + 0.02 * drawn.random())) for n in sizes]
    plain, wide = p_chart(samples(defects, sizes)), laney_chart(samples(defects, sizes))
    sigmas = [(plain.centre * (1 - plain.centre) / n) ** 0.5 for n in sizes]
    scores = [(d / n - plain.centre) / s for d, n, s in zip(defects, sizes, sigmas, strict=True)]
    ranges = [abs(b - a) for a, b in pairwise(scores)]
    assert wide.sigma_z == pytest.approx(sum(ranges) / 39 / 1.128)
    assert wide.sigma_z > 1
    for narrow, wider in zip(plain.samples, wide.samples, strict=True):
        assert wider.upper - wide.centre == pytest.approx(
            wide.sigma_z * (narrow.upper - plain.centre)
        )


def _binomial(drawn: random.Random, n: int, rate: float) -> int:
    return sum(drawn.random() < rate for _ in range(n))


def test_a_line_that_varies_by_itself_breaks_the_p_chart_all_day_and_laneys_hardly_ever() -> None:
    drawn = random.Random(7)  # noqa: S311 -- reproducible
    sizes = [5000] * 200
    defects = [round(n * drawn.gauss(0.08, 0.012)) for n in sizes]
    assert len(beyond(p_chart(samples(defects, sizes)))) > 50
    assert len(beyond(laney_chart(samples(defects, sizes)))) <= 3


def test_where_chance_alone_is_at_work_sigma_z_is_near_one_and_few_points_signal() -> None:
    drawn = random.Random(11)  # noqa: S311 -- reproducible
    sizes = [drawn.randint(50, 400) for _ in range(600)]
    chart = laney_chart(samples([_binomial(drawn, n, 0.2) for n in sizes], sizes))
    assert 1.0 <= chart.sigma_z < 1.1
    assert len(beyond(chart)) <= 6
    # Nelson's own figure for tests 1 to 4 together is one point in a hundred.
    assert sum(bool(broken) for broken in signals(chart)) <= 18


def test_with_few_images_an_hour_one_defect_is_no_alarm_and_many_are() -> None:
    drawn = random.Random(3)  # noqa: S311 -- reproducible
    sizes = [drawn.randint(1, 8) for _ in range(600)]
    chart = laney_chart(samples([_binomial(drawn, n, 0.02) for n in sizes], sizes))
    assert len(beyond(chart)) <= 3
    assert beyond(p_chart(samples([1, *[0] * 40], [1, *[8] * 40]))) == []
    worse = laney_chart(samples([0] * 30 + [6] + [0] * 30, [8] * 61))
    assert beyond(worse) == [31]


def test_a_line_without_a_defect_or_with_nothing_else_has_no_signal() -> None:
    for defects in ([0] * 30, [20] * 30):
        chart = laney_chart(samples(defects, [20] * 30))
        assert (chart.centre, chart.sigma_z) == (defects[0] / 20, 1.0)
        assert {point.upper for point in chart.samples} == {chart.centre}
        assert not any(signals(chart))


def test_of_too_few_periods_sigma_z_is_not_told() -> None:
    assert laney_chart(samples([200, 900, 100], [5000] * 3)).sigma_z == 1.0


# --- the run rules -------------------------------------------------------------------------------------


def of_zs(*zs: float) -> Limits:
    """A chart whose points lie so many standard deviations from the centre."""
    n, centre = 10_000, 0.5
    sigma = (centre * (1 - centre) / n) ** 0.5
    made = [
        Sample(period=f"{at:03d}", inspected=n, defects=round(n * (centre + z * sigma)))
        for at, z in enumerate(zs)
    ]
    plain = p_chart(made)
    limited = [
        type(point)(sample=point.sample, lower=centre - 3 * sigma, upper=centre + 3 * sigma, z=z)
        for point, z in zip(plain.samples, zs, strict=True)
    ]
    return Limits(centre=centre, sigma_z=1.0, samples=tuple(limited))


TURNS = (0.5, -0.5) * 7
EXAMPLES = {
    1: ((0, 3.1), (0, 2.9)),
    2: ((0.5,) * 9, (*(0.5,) * 8, -0.5)),
    3: ((-1, -0.5, 0.1, 0.3, 0.8, 1.2), (-1, -0.5, 0.1, 0.3, 0.8, 0.8)),
    4: (TURNS, (*TURNS[:13], 0.6)),
    5: ((2.1, 0, 2.2), (2.1, 0, -2.2)),
    6: ((1.1, 1.2, 0, 1.3, 1.1), (1.1, 1.2, 0, 1.3, -1.1)),
    7: ((0.9, -0.9, 0.1) * 5, (*(0.9, -0.9, 0.1) * 4, 0.9, -0.9, 1.1)),
    8: ((1.1, -1.2) * 4, (*(1.1, -1.2) * 3, 1.1, 0.9)),
}


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_rule_is_broken_at_the_last_point_of_its_run_and_by_nothing_less(rule: int) -> None:
    run, nearly = EXAMPLES[rule]
    broken = signals(of_zs(*run), rules=(rule,))
    assert broken == [()] * (len(run) - 1) + [(rule,)]
    assert signals(of_zs(*nearly), rules=(rule,)) == [()] * len(nearly)


def test_a_period_of_hardly_any_image_ends_a_run() -> None:
    chart = of_zs(*(0.5,) * 12)
    gap = type(chart.samples[0])(sample=chart.samples[5].sample, lower=0.0, upper=1.0, z=None)
    holed = Limits(centre=0.5, sigma_z=1.0, samples=(*chart.samples[:5], gap, *chart.samples[6:]))
    assert any(signals(chart, rules=(2,)))
    assert not any(signals(holed, rules=(2,)))


def test_a_share_that_stays_the_same_does_not_rise_with_the_number_of_images() -> None:
    growing = [1000 * more for more in range(1, 7)]
    chart = p_chart(samples([4000, *(n // 20 for n in growing)], [100_000, *growing]))
    zs = [point.z for point in chart.samples[1:]]
    assert zs == sorted(zs, key=float), "and each of them is farther from the centre"
    assert not any(signals(chart, rules=(3,)))


def test_only_the_rules_that_are_asked_for_are_tested() -> None:
    chart = of_zs(*(3.5,) * 9)
    assert signals(chart)[-1] == (1, 2)
    assert signals(chart, rules=(1, 5))[-1] == (1, 5)


def test_a_share_on_its_exact_limit_is_not_beyond_it() -> None:
    """A third is a third, however it was worked out: of mostly defects, three images an hour."""
    shares = [3, 3, 3, 2, 3, 3, 1, 3, 3, 3]
    chart = p_chart(samples(shares, [3] * 10))
    assert chart.samples[6].lower == chart.samples[6].sample.share == 1 / 3
    assert beyond(chart) == []
