"""Whether a camera's day is unlike the days before it, and in what: no database, no clock."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Final

from config.oversight import Drift
from config.text import percent
from daemon.store.days import CameraDay
from models.binomial import interval

FEWEST_DAYS: Final = 5
"""Earlier days without which nothing is compared."""
MOST_DAYS: Final = 14
"""The oldest of the days that count: what changes little by little is far from them in the end."""
T_BY_DAYS: Final = {
    5: 6.62,
    6: 5.51,
    7: 4.90,
    8: 4.53,
    9: 4.28,
    10: 4.09,
    11: 3.96,
    12: 3.85,
    13: 3.76,
    14: 3.69,
}
"""Student's t with one degree of freedom fewer than days, exceeded either way by 0.27 %: with so few
days, as rare as three standard deviations are with very many."""
MOST_UNKNOWN: Final = 0.1
"""Of what a mature model inspects, though of its held-out images one in a hundred is unknown."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """One figure of a camera that changed. `what` says it to an operator."""

    figure: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Usual:
    """A figure on earlier days, and between which values another such day would lie."""

    centre: float
    low: float
    high: float
    days: str

    @classmethod
    def of(cls, values: Sequence[float], names: Sequence[str], least: float) -> "Usual":
        """From at least `FEWEST_DAYS` days: a prediction interval, but no narrower than `least`."""
        count = len(values)
        centre = fmean(values)
        reach = max(T_BY_DAYS[count] * stdev(values) * (1 + 1 / count) ** 0.5, least)
        return cls(
            centre=centre,
            low=centre - reach,
            high=centre + reach,
            days=f"{count} days from {names[0]} to {names[-1]}",
        )


def compare(
    days: Sequence[CameraDay],
    rules: Drift,
    *,
    version: str,
    side: int,
    matured: bool,
    not_before: str,
    not_after: str,
) -> list[Shift]:
    """What changed on the latest day of one camera that has images enough.

    Brightness and sharpness are compared across models, as long as they see pictures of one size;
    novelty and the mix of classes only within one model, as another one names images otherwise.

    Args:
        days: oldest first.
        version: the model that serves.
        side: of the picture that it sees, in pixels.
        matured: whether that model keeps its promise of missed defects. Its held-out images are
            then enough like the line's for their novelty to be a reference as well.
        not_before: a latest day before this one is too old to be told of, `YYYY-MM-DD`.
        not_after: days after this one are a wrong clock's: one would be the latest for years.
    """
    days = [day for day in days if day.day <= not_after]
    shifts: list[Shift] = []
    alike = _merged(day for day in days if day.side == side)
    whole = [day for day in alike if day.images >= rules.min_images]
    own = [d for d in days if d.model_version == version and d.images >= rules.min_images]
    if whole and whole[-1].day >= not_before:
        shifts += _brightness(whole, rules)
        shifts += _sharpness(whole, rules)
    if own and own[-1].day >= not_before:
        shifts += _novelty(own, rules, matured=matured)
        shifts += _mix(own, rules)
    return shifts


def _usual(
    days: Sequence[CameraDay], figure: Callable[[CameraDay], float], least: float, *, share: bool
) -> Usual | None:
    """Of the days before the last one; `least` as a share of the centre, or as it is."""
    earlier = days[:-1][:MOST_DAYS]
    if len(earlier) < FEWEST_DAYS:
        return None
    values = [figure(day) for day in earlier]
    least = least * fmean(values) if share else least
    return Usual.of(values, [day.day for day in earlier], least)


def _brightness(days: Sequence[CameraDay], rules: Drift) -> list[Shift]:
    usual = _usual(days, lambda day: day.brightness, rules.max_brightness_change, share=False)
    day = days[-1]
    if usual is None or usual.low <= day.brightness <= usual.high:
        return []
    how = "darker" if day.brightness < usual.low else "brighter"
    what = (
        f"camera {day.camera} is {how} than it was: brightness {day.brightness:.0f} of 255 on "
        f"{day.day}, before that {usual.centre:.0f} ({usual.days}). See to its lamp, lens and "
        "exposure"
    )
    return [_shift(day, "brightness", what)]


def _sharpness(days: Sequence[CameraDay], rules: Drift) -> list[Shift]:
    usual = _usual(days, lambda day: day.sharpness, rules.max_sharpness_change, share=True)
    day = days[-1]
    if usual is None or usual.low <= day.sharpness <= usual.high:
        return []
    less = day.sharpness < usual.low
    how, remedy = (
        ("less sharp", "See to its lens (oil, dust, focus) and to vibration")
        if less
        else ("noisier or sharper", "See to its exposure, gain and focus")
    )
    what = (
        f"camera {day.camera} is {how} than it was: sharpness {day.sharpness:.2f} on {day.day}, "
        f"before that {usual.centre:.2f} ({usual.days}). {remedy}"
    )
    return [_shift(day, "sharpness", what)]


def _novelty(days: Sequence[CameraDay], rules: Drift, *, matured: bool) -> list[Shift]:
    day = days[-1]
    unknown = day.unknown / day.images
    usual = _usual(days, lambda day: day.novelty, rules.max_novelty_change, share=True)
    if usual is not None and day.novelty > usual.high:
        against = (
            f"novelty {day.novelty:.2f} on {day.day}, before that {usual.centre:.2f} ({usual.days})"
        )
    elif matured and interval(day.unknown, day.images)[0] > MOST_UNKNOWN:
        against = "of its held-out images one in a hundred is"
    else:
        return []
    what = (
        f"what camera {day.camera} shows is less like what model {day.model_version} learned: "
        f"{percent(unknown, 0)} is unknown to it on {day.day}; {against}. See to the camera and the "
        "material, and label some of these images"
    )
    return [_shift(day, "novelty", what)]


def _mix(days: Sequence[CameraDay], rules: Drift) -> list[Shift]:
    """By the share of images that would have to be called otherwise (total variation distance)."""
    earlier, day = days[:-1][:MOST_DAYS], days[-1]
    if len(earlier) < FEWEST_DAYS:
        return []
    total = sum((each.classes for each in earlier), Counter[str]())
    apart = [_distance(each.classes, total - each.classes) for each in earlier]
    usual = Usual.of(apart, [each.day for each in earlier], 0.0)
    changed = _distance(day.classes, total)
    if changed <= max(usual.high, rules.max_mix_change):
        return []
    before, now = _shares(total), _shares(day.classes)
    name = max(now, key=lambda each: now[each] - before.get(each, 0))
    what = (
        f"camera {day.camera} shows another mix of classes: {percent(now.get(name, 0), 0)} {name} on "
        f"{day.day}, before that {percent(before.get(name, 0), 0)} ({usual.days}); {percent(changed, 0)} of the "
        "images are called otherwise. See whether the material or the line changed"
    )
    return [_shift(day, "mix", what)]


def _shift(day: CameraDay, figure: str, what: str) -> Shift:
    accept = f"If it is meant to be so: `millwatch drift accept {day.camera}`"
    return Shift(figure=figure, what=f"{what}. {accept}")


def _merged(days: Iterable[CameraDay]) -> list[CameraDay]:
    """One for each day, whichever models inspected it. In the order of the days."""
    by_day: dict[str, list[CameraDay]] = {}
    for day in days:
        by_day.setdefault(day.day, []).append(day)
    return [_merge(parts) for parts in by_day.values()]


def _merge(parts: Sequence[CameraDay]) -> CameraDay:
    images = sum(part.images for part in parts)
    return replace(
        parts[-1],
        images=images,
        brightness=sum(part.brightness * part.images for part in parts) / images,
        sharpness=sum(part.sharpness * part.images for part in parts) / images,
    )


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {name: count / counts.total() for name, count in counts.items()}


def _distance(one: Counter[str], other: Counter[str]) -> float:
    mine, theirs = _shares(one), _shares(other)
    return sum(abs(mine.get(name, 0) - theirs.get(name, 0)) for name in mine | theirs) / 2
