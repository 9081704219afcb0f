"""What the demo shows: what was drawn against what was seen, and that no image was lost."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from daemon.cli.demo_line import Line
from daemon.store.inspections import Inspection


def say(line: Line, text: str) -> None:
    line.console.print(text, highlight=False)


def counts(names: Sequence[str]) -> str:
    """Such as `70 no_defect, 10 crazing`, most first."""
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())


def classes(line: Line, inspections: Sequence[Inspection], title: str) -> None:
    """What was drawn, against what was seen."""
    known = {inspection.predicted_class for inspection in inspections}
    seen: dict[str, Counter[str]] = {}
    for inspection in inspections:
        drawn = line.dropped[inspection.camera, inspection.filename].surface
        row = seen.setdefault(drawn, Counter())
        row["images"] += 1
        row[inspection.verdict] += 1
        row["right"] += inspection.predicted_class == drawn
    names = ("images", "defect", "unsure", "pass", "unreadable")
    table = Table("drawn", title=title)
    for name in (*names, "class right"):
        table.add_column(name, justify="right")
    for drawn, row in sorted(seen.items()):
        # Of a class that the model does not know it cannot be right.
        right = str(row["right"]) if drawn in known else "-"
        table.add_row(drawn, *(str(row[name]) for name in names), right)
    line.console.print(table)


def account(line: Line, inspections: Sequence[Inspection]) -> bool:
    """Whether each image dropped has one record and lies, unchanged, where that says."""
    records = Counter((each.camera, each.filename) for each in inspections)
    in_place = sum(
        each.path is not None
        and hashlib.sha256(each.path.read_bytes()).hexdigest()
        == line.dropped[each.camera, each.filename].sha256
        for each in inspections
    )
    dropped = len(line.dropped)
    say(
        line,
        f"{dropped} images dropped, {len(inspections)} records, {in_place} files unchanged where "
        "the record says",
    )
    return records == Counter(dict.fromkeys(line.dropped, 1)) and in_place == dropped


def where_to_look(line: Line) -> None:
    line.console.print("Where to look:", style="bold")
    for what, where in (
        ("to check", line.review / "to_check"),
        ("database", line.state_dir / "millwatch.db"),
        ("log", line.root / "daemon.log"),
        ("rates", f"millwatch report rates --config {line.config}"),
    ):
        line.console.print(f"  {what:9} {where}", highlight=False, soft_wrap=True)
