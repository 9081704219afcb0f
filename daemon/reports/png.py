"""Drawings of reports as PNG, by matplotlib: it is imported when one is asked for."""

import io
from typing import TYPE_CHECKING, Final

from config.text import percent
from daemon.reports.report import Bars, Controlled, Lines, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES: Final = (11.0, 5.0)
_DPI: Final = 120
_MOST_TICKS: Final = 12
_INK, _LIMIT, _BAD, _SOFT = "#0b5c8c", "#8a5300", "#b3261e", "#4a5a67"


class NoPngError(Exception):
    """There is nothing to draw, or nothing to draw with; the message says what to do."""


def as_png(report: Report) -> bytes:
    """Raises NoPngError."""
    if report.drawing is None:
        raise NoPngError("there is nothing to draw in this time; ask for a longer one")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 -- it is optional
        from matplotlib.figure import Figure  # noqa: PLC0415
        from matplotlib.ticker import PercentFormatter  # noqa: PLC0415
    except ImportError as error:
        raise NoPngError(
            "PNG needs matplotlib, which is not installed; install Millwatch with its extra "
            "`charts`, or ask for --format html, which draws without it"
        ) from error
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(f"{report.title}\n{report.about}", loc="left", fontsize=10)
    match report.drawing:
        case Controlled():
            _control(axes, report.drawing)
        case Lines():
            _lines(axes, report.drawing)
        case Bars():
            _bars(axes, report.drawing)
    if not isinstance(report.drawing, Bars) or report.drawing.shares:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _control(axes: "Axes", chart: Controlled) -> None:
    points = chart.limits.samples
    xs = list(range(len(points)))
    for limit in ([point.upper for point in points], [point.lower for point in points]):
        axes.step(xs, limit, where="mid", color=_LIMIT, linestyle="--", linewidth=1.2)
    axes.axhline(chart.limits.centre, color=_SOFT, linewidth=1)
    shares = [point.sample.share for point in points]
    axes.plot(xs, shares, color=_INK, marker="o", markersize=4, linewidth=1.2)
    out = [x for x, broken in zip(xs, chart.signals, strict=True) if broken]
    axes.plot(out, [shares[x] for x in out], "o", color=_BAD, markersize=8)
    for x in out:
        numbers = ", ".join(map(str, chart.signals[x]))
        axes.annotate(
            numbers, (x, shares[x]), textcoords="offset points", xytext=(0, 8), color=_BAD
        )
    _name_periods(axes, chart.labels)


def _lines(axes: "Axes", drawing: Lines) -> None:
    for name, line in drawing.lines:
        values = [float("nan") if share is None else share for share in line]
        axes.plot(range(len(values)), values, marker="o", markersize=3, label=name)
    axes.legend(frameon=False)
    _name_periods(axes, drawing.labels)


def _bars(axes: "Axes", drawing: Bars) -> None:
    names = [name for name, _ in drawing.values]
    values = [value for _, value in drawing.values]
    xs = range(len(values))
    axes.bar(xs, values, color=_INK)
    # A class may be named like a formula of matplotlib's.
    axes.set_xticks(xs, names, rotation=30, ha="right", parse_math=False)
    if drawing.shares:
        axes.set_ylim(top=1)
        return
    total = sum(values)
    sums = [sum(values[: at + 1]) for at in xs]
    axes.plot(xs, sums, color=_LIMIT, marker="o", markersize=4)
    for x, value in zip(xs, sums, strict=True):
        text = percent(value / total, 0)
        axes.annotate(text, (x, value), textcoords="offset points", xytext=(0, 6), ha="center")


def _name_periods(axes: "Axes", labels: tuple[str, ...]) -> None:
    every = max(1, -(-len(labels) // _MOST_TICKS))
    axes.set_xticks(range(0, len(labels), every), labels[::every], rotation=30, ha="right")
