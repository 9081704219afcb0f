"""`doctor`: everything that an installer can get wrong, with remedies."""

import os
import sys
from collections import Counter
from dataclasses import asdict

import typer

from config.text import as_one_line
from daemon.cli.options import ConfigOption, JsonOption, print_json
from daemon.clock import now_utc
from daemon.doctor.checked import Checked, State
from daemon.doctor.examining import examine

_SIGNS = {State.GOOD: "good", State.REMARK: "note", State.BAD: "BAD "}


def doctor(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Try everything that an installer can get wrong. As root, as the service's own user would.

    Exit status 0 when nothing is bad, 1 otherwise. The daemon may run or not.
    """
    found: list[Checked] = []
    for each in examine(config, os.environ, now_utc()):
        found.append(each)
        if not as_json:
            _print(each)
    counts = Counter(each.state for each in found)
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        told = f"{counts[State.BAD]} bad, {counts[State.REMARK]} to note, {counts[State.GOOD]} good"
        sys.stdout.write(f"{told}\n")
    if counts[State.BAD]:
        raise typer.Exit(1)


def _print(each: Checked) -> None:
    sys.stdout.write(f"{_SIGNS[each.state]}  {as_one_line(f'{each.check}: {each.found}')}\n")
    if each.remedy:
        sys.stdout.write(f"      → {as_one_line(each.remedy)}\n")
    sys.stdout.flush()
