"""Charts as plain numbers on a canvas; the templates draw them as inline SVG."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from config.text import counted, percent
from daemon.reports.report import Bars, Controlled, Lines

WIDTH: Final = 720
HEIGHT: Final = 260
LEFT: Final = 56
BOTTOM: Final = 34
TOP: Final = 12
RIGHT: Final = 12


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
    """A p-chart on a canvas of `WIDTH` by `HEIGHT`.

    Attributes:
        rules: numbers of the run rules that some point breaks.
    """

    dots: tuple[Dot, ...]
    line: str
    upper: str
    lower: str
    centre_y: float
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    rules: tuple[int, ...]


def control_chart(chart: Controlled) -> ControlChart:
    points = chart.limits.samples
    canvas = _Canvas(
        len(points), most=max(max(point.sample.share, point.upper) for point in points)
    )
    dots = tuple(
        Dot(
            x=x,
            y=canvas.y(point.sample.share),
            out=bool(broken),
            says=_says(label, point.sample.inspected, point.sample.share, broken),
        )
        for x, point, broken, label in zip(
            canvas.xs, points, chart.signals, chart.labels, strict=True
        )
    )
    return ControlChart(
        dots=dots,
        line=" ".join(f"{dot.x},{dot.y}" for dot in dots),
        upper=canvas.steps([point.upper for point in points]),
        lower=canvas.steps([point.lower for point in points]),
        centre_y=canvas.y(chart.limits.centre),
        y_ticks=canvas.y_ticks(),
        x_ticks=canvas.x_ticks(chart.labels),
        rules=tuple(sorted({rule for broken in chart.signals for rule in broken})),
    )


@dataclass(frozen=True, kw_only=True)
class Line:
    """A name and its pieces, each the points of one polyline: there is a gap where nothing was."""

    name: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LineChart:
    lines: tuple[Line, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


def line_chart(drawing: Lines) -> LineChart:
    shares = [share for _, line in drawing.lines for share in line if share is not None]
    canvas = _Canvas(len(drawing.labels), most=max(shares, default=0.0))
    return LineChart(
        lines=tuple(
            Line(name=name, pieces=tuple(canvas.pieces(line))) for name, line in drawing.lines
        ),
        y_ticks=canvas.y_ticks(),
        x_ticks=canvas.x_ticks(drawing.labels),
    )


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar; its width in percent, and the share of all that it has, alone and with those before."""

    name: str
    value: float
    width: float
    share: float
    cumulative: float


def bars(drawing: Bars) -> tuple[Bar, ...]:
    """A bar for each; of shares as wide as they are, of counts as of the largest."""
    most = 1.0 if drawing.shares else max((value for _, value in drawing.values), default=1.0)
    total = sum(value for _, value in drawing.values) or 1.0
    drawn, before = [], 0.0
    for name, value in drawing.values:
        before += value
        drawn.append(
            Bar(
                name=name,
                value=value,
                width=round(100 * value / most, 1),
                share=value / total,
                cumulative=before / total,
            )
        )
    return tuple(drawn)


class _Canvas:
    """So many periods from left to right, and shares up to a round one."""

    def __init__(self, periods: int, *, most: float) -> None:
        self._top = _round_up(most)
        self._step = (WIDTH - LEFT - RIGHT) / max(periods - 1, 1)
        first = LEFT if periods > 1 else LEFT + self._step / 2  # one alone, in the middle
        self.xs = [round(first + number * self._step, 1) for number in range(periods)]

    def y(self, share: float) -> float:
        return round(
            HEIGHT - BOTTOM - min(share, self._top) / self._top * (HEIGHT - BOTTOM - TOP), 1
        )

    def steps(self, shares: Sequence[float]) -> str:
        """Limits change from period to period, as the number of images does."""
        half = self._step / 2
        return " ".join(
            f"{max(LEFT, x - half):.1f},{self.y(share)} {min(WIDTH - RIGHT, x + half):.1f},{self.y(share)}"
            for x, share in zip(self.xs, shares, strict=True)
        )

    def pieces(self, shares: Iterable[float | None]) -> list[str]:
        found: list[list[str]] = [[]]
        for x, share in zip(self.xs, shares, strict=True):
            if share is None:
                found.append([])
            else:
                found[-1].append(f"{x},{self.y(share)}")
        # A piece of one point is drawn by its round ends, which need a line.
        return [" ".join(piece if len(piece) > 1 else piece * 2) for piece in found if piece]

    def y_ticks(self) -> tuple[Tick, ...]:
        parts = [self._top * part / 4 for part in range(5)]
        return tuple(Tick(at=self.y(part), text=f"{part * 100:.3g} %") for part in parts)

    def x_ticks(self, labels: Sequence[str]) -> tuple[Tick, ...]:
        every = max(1, -(-len(labels) // 6))  # with more they run into each other
        pairs = list(zip(self.xs, labels, strict=True))[::every]
        return tuple(Tick(at=x, text=_short(label)) for x, label in pairs)


def _says(label: str, inspected: int, share: float, broken: Sequence[int]) -> str:
    told = f"{label}: {percent(share)} of {counted(inspected, 'image')}"
    if broken:
        told += f"; rule {', '.join(map(str, broken))}"
    return told


def _short(label: str) -> str:
    """The month, the day and the hour of a time; all of anything else."""
    return label[5:16] if len(label) > 15 else label


def _round_up(share: float) -> float:
    for top in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8):
        if share <= top:
            return top
    return 1.0
