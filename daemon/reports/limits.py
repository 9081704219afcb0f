"""The p-chart: how far the share of defects may stray by chance, for samples of unequal size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from models.binomial import cumulative

SIGMAS: Final = 3.0
_TAIL: Final = 0.00135
"""The chance that a normal variable lies beyond three standard deviations on one side."""
_D2: Final = 1.128
"""The mean range of two normal values, in standard deviations (d2 in tables of control charts)."""
_FEW: Final = 5.0
_FEWEST_PERIODS: Final = 10
"""Moving ranges of fewer say too little of how much a line varies by itself."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was inspected in one period, at least one image, and the defects among it."""

    period: str
    inspected: int
    defects: int

    @property
    def share(self) -> float:
        return self.defects / self.inspected


@dataclass(frozen=True, kw_only=True)
class Limited:
    """A sample with its limits.

    Attributes:
        lower, upper: shares, within 0 to 1.
        z: how far the share is from the centre, in its standard deviations; None where so few
            defects, or others, are expected (less than five) that no normal variable is like it.
    """

    sample: Sample
    lower: float
    upper: float
    z: float | None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A chart's centre, a share, and every sample with its own limits.

    Attributes:
        sigma_z: how much wider the line varies than chance alone would have it; 1 or more.
    """

    centre: float
    sigma_z: float
    samples: tuple[Limited, ...]


def p_chart(samples: Sequence[Sample], *, sigma_z: float = 1.0) -> Limits:
    """Limits of a p-chart: centre p = defects / inspected, p ± 3 sigma_z sqrt(p (1 - p) / n) for each n.

    Montgomery, Introduction to Statistical Quality Control, 6th ed. 2009, section 7.2.1, and 7.2.2 for
    samples of unequal size. Where fewer than five defects are expected, those limits cry wolf: the
    upper one is then the exact binomial one that chance exceeds in at most 0.135 % of samples, if
    that is wider. So it is with the lower one where fewer than five are expected to be no defects.

    Args:
        samples: in the order of time, at least one.
        sigma_z: how much wider than by chance alone; `laney_chart` finds it.
    """
    centre = _centre(samples)
    return Limits(
        centre=centre,
        sigma_z=sigma_z,
        samples=tuple(_limited(sample, centre, sigma_z) for sample in samples),
    )


def laney_chart(samples: Sequence[Sample]) -> Limits:
    """Limits of a p'-chart, for a line that varies by itself from period to period.

    Laney, Improved control charts for attributes, Quality Engineering 14(4), 2002, 531-537: the
    z-scores of the shares are charted as individuals. Their standard deviation sigma_z, which is
    their mean moving range / 1.128, widens the limits of the p-chart: p ± 3 sigma_p sigma_z. With
    thousands of images a period a p-chart calls nearly every one out of limits; this one does not.

    Where sigma_z comes out below 1 it is taken as 1: with few images, periods alike are no proof of a
    line that varies less than chance, and narrower limits would alarm people for nothing. Below ten
    periods it is taken as 1 too: they say too little.

    Args:
        samples: in the order of time, at least one.
    """
    centre = _centre(samples)
    sigma_z = 1.0
    if len(samples) >= _FEWEST_PERIODS and 0 < centre < 1:
        scores = [_score(sample, centre) for sample in samples]
        ranges = [abs(after - before) for before, after in pairwise(scores)]
        sigma_z = max(1.0, sum(ranges) / len(ranges) / _D2)
    return p_chart(samples, sigma_z=sigma_z)


def _centre(samples: Sequence[Sample]) -> float:
    return sum(each.defects for each in samples) / sum(each.inspected for each in samples)


def _sigma(inspected: int, centre: float) -> float:
    return float((centre * (1 - centre) / inspected) ** 0.5)


def _score(sample: Sample, centre: float) -> float:
    return (sample.share - centre) / _sigma(sample.inspected, centre)


def _limited(sample: Sample, centre: float, sigma_z: float) -> Limited:
    n = sample.inspected
    spread = SIGMAS * _sigma(n, centre) * sigma_z
    lower, upper = centre - spread, centre + spread
    few_defects, few_others = n * centre < _FEW, n * (1 - centre) < _FEW
    if few_defects:
        upper = max(upper, _most(n, centre) / n)
    if few_others:
        lower = min(lower, (n - _most(n, 1 - centre)) / n)
    ordinary = not few_defects and not few_others
    return Limited(
        sample=sample,
        lower=max(0.0, lower),
        upper=min(1.0, upper),
        z=_score(sample, centre) / sigma_z if ordinary else None,
    )


@lru_cache(maxsize=4096)
def _most(trials: int, rate: float) -> int:
    """The fewest that chance exceeds in no more than `_TAIL` of samples."""
    return next(k for k in range(trials + 1) if 1 - cumulative(k, trials, rate) <= _TAIL)
