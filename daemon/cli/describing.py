"""What is known of a model, in words and tables for a terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.text import counted, percent
from daemon.cli.options import table_of_answers
from daemon.names import to_text
from models.binomial import interval
from models.checkpoint import Metadata
from models.support import MissedDefects, Support


def print_model(folder: Path, metadata: Metadata) -> None:
    console = Console(highlight=False, soft_wrap=True)
    lines = [f"{to_text(folder)}: model {metadata.version}, made {metadata.created_at}"]
    lines.append(
        f"{metadata.architecture} at {metadata.input_size} pixels, {metadata.normalisation} "
        f"normalisation, manifest {metadata.manifest_sha256[:12]}"
    )
    try:
        table = _figures(metadata.metrics["test"], lines)
    except (KeyError, TypeError, ValueError, AttributeError):  # of a training that keeps others
        table = None
        lines.append("its folder holds no figures that can be shown")
    console.print("\n".join(lines), markup=False)
    if table is not None:
        console.print(table)


def _figures(test: dict[str, Any], lines: list[str]) -> Table:
    """Of the test part: by class, and over all as another line."""
    low, high = test["accuracy_interval"]
    over_all = (
        f"accuracy {percent(test['accuracy'])} of {counted(test['images'], 'test image')} (95 % interval "
        f"{percent(low)} to {percent(high)}), calibration error {test['expected_calibration_error']:.3f}"
    )
    table = table_of_answers("class", title="On its test part, 95 % intervals")
    for heading in ("images", "recall", "interval", "precision"):
        table.add_column(heading, justify="right")
    for (name, figures), called in zip(
        test["classes"].items(), zip(*test["confusion"], strict=True), strict=True
    ):
        count = figures["images"]
        low, high = interval(round(figures["recall"] * count), count)
        # Of no image no share is known, though it is kept as 0.
        cells = (
            (percent(figures["recall"], 1), f"{percent(low, 1)} to {percent(high, 1)}")
            if count
            else ("-", "-")
        )
        precision = percent(figures["precision"], 1) if any(called) else "-"
        table.add_row(escape(name), str(count), *cells, precision)
    lines.append(over_all)
    return table


def print_support(support: Support) -> None:
    console = Console(highlight=False, soft_wrap=True)
    thresholds = table_of_answers(
        "class", title="Believed to be a defect, from the held-out images"
    )
    for heading in ("from confidence", "called so", "wrong name", "at most, 95 %"):
        thresholds.add_column(heading, justify="right")
    misses = table_of_answers(
        "class", title="Missed-defect rate that they could promise, none missed"
    )
    for heading in ("held out", "at best, 95 %", "more needed"):
        misses.add_column(heading, justify="right")
    for each in support.classes:
        if each.threshold and each.missed:
            figures = each.threshold
            cells = (f"{figures.threshold:.4f}", str(figures.called), str(figures.wrong))
            thresholds.add_row(escape(each.name), *cells, percent(figures.upper_bound, 1))
            misses.add_row(escape(each.name), *_missed(each.missed))
    misses.add_section()
    misses.add_row("all defects", *_missed(support.missed))
    console.print(thresholds)
    console.print(
        "The share of wrong names that was seen is kept within policy.max_wrong_class_rate "
        f"({percent(support.policy.max_wrong_class_rate)}); the last column is its exact bound, a "
        "little too low where a threshold was raised: that was done by the same images.",
        markup=False,
    )
    console.print(misses)
    console.print(_passes(support), markup=False)
    if support.points:
        console.print(_points(support))
    console.print(
        f"Above novelty {support.novelty_threshold:.4f} an image is unknown, as one new image of a "
        f"known kind in {1 / support.known_called_unknown:.0f} will be.",
        markup=False,
    )


def _points(support: Support) -> Table:
    table = table_of_answers(
        "rate",
        title="What policy.max_missed_defect_rate would let pass, by this line's held-out images",
    )
    for heading in ("from confidence", "promised, 95 %", "defects", "normal images"):
        table.add_column(heading, justify="right")
    for each in support.points:
        now = " (now)" if each.rate == support.policy.max_missed_defect_rate else ""
        table.add_row(
            f"{percent(each.rate)}{now}",
            f"{each.threshold:.4f}",
            percent(each.promised),
            f"{each.missed} of {support.missed.held_out}",
            f"{each.passed} of {support.normal}",
        )
    return table


def _missed(missed: MissedDefects) -> tuple[str, str, str]:
    return str(missed.held_out), percent(missed.lowest_rate), str(missed.further_needed)


def _passes(support: Support) -> str:
    promise = (
        f"policy.max_missed_defect_rate is {percent(support.policy.max_missed_defect_rate)}, for all "
        "defects together"
    )
    rule = support.pass_rule
    if rule is not None:
        begin = f"An image may pass from confidence {rule.threshold:.4f}"
        of_line = " of this line" if rule.own < rule.defects else ""
        if rule.kept:
            return (
                f"{begin}, which {rule.missed} of {counted(rule.own, 'held-out defect')}{of_line} do: {promise}, "
                "and kept."
            )
        which = f"The {rule.own}{of_line} among them" if of_line else "They"
        promised = f"promised is {percent(rule.promised)}" if rule.own else "nothing is promised"
        return (
            f"{begin}, beyond all {rule.defects} held-out defects. {which} are too few to promise what "
            f"is asked: {promise}; {promised}."
        )
    if all(each.threshold for each in support.classes):
        return f"Nothing passes, for the model knows no normal class: {promise}."
    return f"Nothing passes, for that takes more held-out defects: {promise}."
