"""Charts as plain numbers on a canvas of 460 by 300; the template draws them as inline SVG."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from config.text import counted, percent
from training.fitting.fit import Epoch
from training.judging.evaluate import Bin
from training.judging.novelty import Foreign

WIDTH: Final = 460
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 58.0, 446.0, 14.0, 252.0
_LEAST_LOSS: Final = 1e-4
"""A logarithmic axis has no 0, and a small training set can be learned until no loss is left."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Where on its axis a label stands, in units of the canvas."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """Attributes: points: as SVG's `polyline` takes them; kind: a CSS class; name: of the legend."""

    points: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Attributes: alt: what a person who cannot see it should know."""

    alt: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """From values to the canvas, evenly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        scale: Callable[[float], float] = math.log10 if self.logarithmic else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, values: Sequence[float], text: Callable[[float], str]) -> tuple[Tick, ...]:
        return tuple(Tick(at=self.place(value), text=text(value)) for value in values)


def losses(history: Sequence[Epoch]) -> Chart:
    """Both losses by epoch, and the epoch that was kept."""
    fitted = [max(epoch.fit_loss, _LEAST_LOSS) for epoch in history]
    held_out = [max(epoch.select_loss, _LEAST_LOSS) for epoch in history]
    low = 10.0 ** math.floor(math.log10(min(*fitted, *held_out)))
    high = max(10.0 ** math.ceil(math.log10(max(*fitted, *held_out))), low * 10)
    y = _Axis(low=low, high=high, start=BOTTOM, end=TOP, logarithmic=True)
    powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
    return Chart(
        alt=f"Cross-entropy over {counted(len(history), 'epoch')}: at the end {fitted[-1]:.3f} on augmented "
        f"training images and {held_out[-1]:.3f} on held-out ones.",
        x_label="epoch",
        y_label="cross-entropy, nats",
        x_ticks=_epoch_ticks(history),
        y_ticks=y.ticks([10.0**power for power in powers], lambda value: f"{value:g}"),
        lines=(
            _course(history, fitted, y, "first", "training, augmented"),
            _course(history, held_out, y, "second", "held out (select)"),
            _kept(history),
        ),
    )


def accuracies(history: Sequence[Epoch]) -> Chart:
    """Accuracy on the select part by epoch."""
    shares = [epoch.select_accuracy for epoch in history]
    y = _Axis(low=0, high=1, start=BOTTOM, end=TOP)
    return Chart(
        alt=f"Accuracy on held-out images over {counted(len(history), 'epoch')}: at the end {percent(shares[-1], 1)}, "
        f"at best {percent(max(shares), 1)}.",
        x_label="epoch",
        y_label="accuracy",
        x_ticks=_epoch_ticks(history),
        y_ticks=_percents(y),
        lines=(_course(history, shares, y, "second", "held out (select)"), _kept(history)),
    )


def reliability(bins: Sequence[Bin], calibration_error: float) -> Chart:
    """How often images are right, by how sure the network was."""
    x, y = _unit_axes()
    filled = [each for each in bins if each.images]
    return Chart(
        alt=f"Accuracy by confidence in {len(bins)} bins, {len(filled)} of them with images; the "
        f"expected calibration error is {percent(calibration_error)}.",
        x_label="confidence",
        y_label="share that is right",
        x_ticks=_percents(x),
        y_ticks=_percents(y),
        lines=(
            Line(points=_points([(0, 0), (1, 1)], x, y), kind="guide", name="as sure as right"),
        ),
        bars=tuple(
            Bar(
                x=x.place(each.low),
                y=y.place(each.accuracy),
                width=round(x.place(each.high) - x.place(each.low), 1),
                height=round(BOTTOM - y.place(each.accuracy), 1),
                title=f"{counted(each.images, 'image')} of mean confidence {percent(each.confidence, 1)}: "
                f"{percent(each.accuracy, 1)} right",
            )
            for each in filled
        ),
    )


def novelty(foreign: Foreign) -> Chart:
    """The receiver operating characteristic of known against foreign images."""
    x, y = _unit_axes()
    return Chart(
        alt=f"Share of foreign pictures called unknown against the share of known ones, over all "
        f"thresholds; the area under the curve is {foreign.auroc:.3f}.",
        x_label="known images called unknown",
        y_label="foreign ones called unknown",
        x_ticks=_percents(x),
        y_ticks=_percents(y),
        lines=(
            Line(points=_points([(0, 0), (1, 1)], x, y), kind="guide", name="by chance"),
            Line(points=_points([(0, 0), *foreign.roc], x, y), kind="first", name=foreign.name),
        ),
    )


def _unit_axes() -> tuple[_Axis, _Axis]:
    return _Axis(low=0, high=1, start=LEFT, end=RIGHT), _Axis(low=0, high=1, start=BOTTOM, end=TOP)


def _percents(axis: _Axis) -> tuple[Tick, ...]:
    return axis.ticks([0, 0.25, 0.5, 0.75, 1], lambda value: percent(value, 0))


def _epoch_axis(history: Sequence[Epoch]) -> _Axis:
    last = max(history[-1].number, 2)  # one epoch alone has no length
    return _Axis(low=1, high=last, start=LEFT, end=RIGHT)


def _epoch_ticks(history: Sequence[Epoch]) -> tuple[Tick, ...]:
    last = history[-1].number
    step = max(1, -(-last // 6))
    return _epoch_axis(history).ticks([1, *range(1 + step, last + 1, step)], lambda n: f"{n:.0f}")


def _course(
    history: Sequence[Epoch], values: Sequence[float], y: _Axis, kind: str, name: str
) -> Line:
    numbers = [(epoch.number, value) for epoch, value in zip(history, values, strict=True)]
    if len(numbers) == 1:  # a line of one point is not seen
        numbers.append((2, values[0]))
    return Line(points=_points(numbers, _epoch_axis(history), y), kind=kind, name=name)


def _kept(history: Sequence[Epoch]) -> Line:
    """A vertical line at the last epoch whose weights were kept."""
    kept = max((epoch.number for epoch in history if epoch.kept), default=history[-1].number)
    at = _epoch_axis(history).place(kept)
    return Line(points=f"{at},{TOP} {at},{BOTTOM}", kind="guide", name=f"kept: epoch {kept}")


def _points(values: Sequence[tuple[float, float]], x: _Axis, y: _Axis) -> str:
    return " ".join(f"{x.place(a)},{y.place(b)}" for a, b in values)
