"""Reports as text: for a spreadsheet, for a program, and as a page that needs nothing else."""

import csv
import io
import json
from datetime import datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from config.text import as_one_line, percent
from daemon.reports import drawing
from daemon.reports.periods import By
from daemon.reports.report import Bars, Controlled, Lines, Report, Value
from daemon.reports.rules import WORDS
from daemon.reports.words import grouped

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(report: Report) -> str:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it.

    A class is named by whoever makes a folder: `=HYPERLINK(...)` must stay a name where it is opened.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(column.key for column in report.flat.columns)
    writer.writerows([_harmless(value) for value in row] for row in report.flat.rows)
    return file.getvalue()


def as_json(report: Report) -> str:
    return json.dumps(report.document) + "\n"


def as_html(report: Report, *, by: By, made: datetime) -> str:
    """One page with everything in it, offline too: charts are inline SVG, and nothing in it runs."""
    environment = Environment(
        loader=PackageLoader("daemon.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "grouped": grouped,
        "percent": percent,
        "one_line": lambda value: as_one_line(str(value)),
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        by=by.value,
        words=WORDS,
        made=f"{made:%Y-%m-%d %H:%M %Z}",
        column_values=lambda section, row: zip(section.columns, row, strict=True),
        **_drawn(report),
    )


def _drawn(report: Report) -> dict[str, Any]:
    drawn = report.drawing
    return {
        "control": drawing.control_chart(drawn) if isinstance(drawn, Controlled) else None,
        "lines": drawing.line_chart(drawn) if isinstance(drawn, Lines) else None,
        "bars": drawing.bars(drawn) if isinstance(drawn, Bars) else None,
        "shares": isinstance(drawn, Bars) and drawn.shares,
        "sections": () if isinstance(drawn, Bars) and drawn.tell_all else report.sections,
    }


def _harmless(value: Value) -> Value:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
