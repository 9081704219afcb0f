"""Charts as plain numbers on a canvas; the templates draw them as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 260
LEFT: Final = 56
BOTTOM: Final = 34
TOP: Final = 12
RIGHT: Final = 12


@dataclass(frozen=True, kw_only=True)
class Point:
    """A share of one period, with the limits that hold for it.

    Attributes:
        signals: numbers of the run rules that the point breaks.
    """

    period: str
    inspected: int
    share: float
    lower: float
    upper: float
    signals: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dot:
    x: float
    y: float
    out: bool
    says: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class ControlChart:
    """A p-chart on a canvas of `WIDTH` by `HEIGHT`."""

    dots: tuple[Dot, ...]
    line: str
    upper: str
    lower: str
    centre_y: float
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


def control_chart(points: Sequence[Point], centre: float) -> ControlChart | None:
    """None where there is nothing to draw."""
    if not points:
        return None
    top = _round_up(max(max(point.share, point.upper) for point in points))
    step = (WIDTH - LEFT - RIGHT) / max(len(points) - 1, 1)
    xs = [round(LEFT + number * step, 1) for number in range(len(points))]

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - share / top * (HEIGHT - BOTTOM - TOP), 1)

    dots = tuple(
        Dot(x=x, y=y(point.share), out=bool(point.signals), says=_says(point))
        for x, point in zip(xs, points, strict=True)
    )
    every = max(1, -(-len(points) // 8))
    return ControlChart(
        dots=dots,
        line=" ".join(f"{dot.x},{dot.y}" for dot in dots),
        upper=_steps(xs, [y(min(point.upper, top)) for point in points], step),
        lower=_steps(xs, [y(point.lower) for point in points], step),
        centre_y=y(centre),
        y_ticks=tuple(
            Tick(at=y(top * part / 4), text=f"{top * part / 4 * 100:.3g} %") for part in range(5)
        ),
        x_ticks=tuple(
            Tick(at=x, text=_short(point.period))
            for x, point in list(zip(xs, points, strict=True))[::every]
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Bar:
    name: str
    images: int
    width: float
    cumulative: float


def pareto_bars(counts: Sequence[tuple[str, int]]) -> tuple[Bar, ...]:
    """Most first; widths and cumulative shares in percent."""
    total = sum(images for _, images in counts)
    ordered = sorted(counts, key=lambda each: (-each[1], each[0]))
    bars, before = [], 0
    for name, images in ordered:
        before += images
        bars.append(
            Bar(
                name=name,
                images=images,
                width=round(100 * images / ordered[0][1], 1),
                cumulative=round(100 * before / total, 1),
            )
        )
    return tuple(bars)


def _steps(xs: Sequence[float], ys: Sequence[float], step: float) -> str:
    """Limits change from period to period, as the number of images does."""
    half = step / 2
    return " ".join(
        f"{max(LEFT, x - half):.1f},{y} {min(WIDTH - RIGHT, x + half):.1f},{y}"
        for x, y in zip(xs, ys, strict=True)
    )


def _says(point: Point) -> str:
    told = f"{point.period}: {point.share:.1%} of {point.inspected} images"
    if point.signals:
        told += f"; rule {', '.join(map(str, point.signals))}"
    return told


def _short(period: str) -> str:
    """The hour of a time, the month and day of a date, else all of it."""
    return period[11:16] if len(period) > 15 else period[5:10] if len(period) == 10 else period


def _round_up(share: float) -> float:
    for top in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8):
        if share <= top:
            return top
    return 1.0
