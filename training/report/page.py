"""The report of a model: one HTML file that needs nothing else."""

import base64
import io
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from numpy.typing import NDArray
from PIL import Image

from config.text import counted, percent
from models.whole import write_whole
from training.judging.assessment import Assessment
from training.judging.evaluate import Evaluation, Rate
from training.report import charts

NAME: Final = "report.html"
_MOST_LISTED: Final = 100
"""Images of one kind to look at; more make a page that nobody reads."""
_JPEG_QUALITY: Final = 85
"""Of pictures in the report: a fifth of PNG's size, and no difference that a person sees."""


def write(assessment: Assessment, path: Path) -> None:
    """Raises OSError."""
    text = render(assessment)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


@cache
def _template() -> Template:
    """Compiled once: a cross-validation writes many reports."""
    environment = Environment(
        loader=PackageLoader("training.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "counted": counted,
        "percent": lambda share, digits=1: percent(share, digits),
        "span": _span,
        "picture": _picture,
    }
    return environment.get_template("report.html.j2")


def render(assessment: Assessment) -> str:
    """The whole page; nothing in it is fetched from elsewhere, and nothing in it runs."""
    history, foreign = assessment.history, assessment.foreign
    return _template().render(
        of=assessment,
        canvas=charts,
        most=max(max(row) for row in assessment.evaluation.confusion),
        called=_called(assessment.evaluation),
        most_listed=_MOST_LISTED,
        spoilt_mean=_mean_accuracy(assessment.spoilt),
        loss_chart=charts.losses(history) if history else None,
        accuracy_chart=charts.accuracies(history) if history else None,
        reliability_chart=charts.reliability(
            assessment.reliability, assessment.evaluation.expected_calibration_error
        ),
        novelty_chart=charts.novelty(foreign) if foreign else None,
    )


def _span(rate: Rate) -> str:
    low, high = rate.interval
    return f"{percent(low, 1)} to {percent(high, 1)}"


def _picture(pixels: NDArray[np.uint8]) -> str:
    """As a `data:` address."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _called(evaluation: Evaluation) -> dict[str, int]:
    """How many images are called each class."""
    columns = zip(*evaluation.confusion, strict=True)
    return dict(zip(evaluation.classes, map(sum, columns), strict=True))


def _mean_accuracy(spoilt: dict[str, list[Evaluation]]) -> float | None:
    """Over kinds and severities alike; None when not measured."""
    every = [each.accuracy for of in spoilt.values() for each in of]
    return sum(every) / len(every) if every else None
