"""The run rules: which points of a control chart say that more than chance is at work.

Nelson, The Shewhart control chart: tests for special causes, Journal of Quality Technology 16(4),
1984, 237-239. The numbers are his. He advises tests 1 to 4 for every day (together they cry wolf for
one point in a hundred), 5 and 6 where an early warning is worth as much again, and 7 and 8 to see
whether a chart was set up well.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from daemon.reports.limits import Limits

EVERY_DAY: Final = (1, 2, 3, 4)
WORDS: Final = {
    1: "a point beyond the limits",
    2: "nine points in a row on one side of the centre",
    3: "six points in a row that rise, or fall",
    4: "fourteen points in a row that go up and down by turns",
    5: "two of three points in a row beyond two standard deviations, on one side",
    6: "four of five points in a row beyond one standard deviation, on one side",
    7: "fifteen points in a row within one standard deviation",
    8: "eight points in a row beyond one standard deviation, on either side",
}

_Run = Sequence[float]


def signals(limits: Limits, rules: Sequence[int] = EVERY_DAY) -> list[tuple[int, ...]]:
    """The rules that each point completes, by number.

    The others than rule 1 presuppose something like a normal variable: a period in which too few
    defects are expected (`Limited.z` is None) ends a run, and begins none. What rises and falls are
    the shares: with more images in each period a z-score rises though the share does not.
    """
    return [
        tuple(
            rule
            for rule in sorted(rules)
            if (_beyond(limits, at) if rule == 1 else _completes(limits, at, rule))
        )
        for at in range(len(limits.samples))
    ]


def _beyond(limits: Limits, at: int) -> bool:
    point = limits.samples[at]
    return not point.lower <= point.sample.share <= point.upper


def _completes(limits: Limits, at: int, rule: int) -> bool:
    length, holds = _RULES[rule]
    points = limits.samples[max(0, at + 1 - length) : at + 1]
    run = [
        each.sample.share if rule in _OF_SHARES else each.z for each in points if each.z is not None
    ]
    return len(run) == length and holds(run)


def _one_side(run: _Run) -> bool:
    return all(z > 0 for z in run) or all(z < 0 for z in run)


def _steady(run: _Run) -> bool:
    steps = _steps(run)
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


def _by_turns(run: _Run) -> bool:
    steps = _steps(run)
    return all(one * next_ < 0 for one, next_ in pairwise(steps))


def _steps(run: _Run) -> list[float]:
    return [after - before for before, after in pairwise(run)]


def _far(of: int, sigmas: float) -> Callable[[_Run], bool]:
    """So many of the run beyond so many standard deviations on the side where its last point is."""

    def holds(run: _Run) -> bool:
        side = 1 if run[-1] > 0 else -1
        return run[-1] * side > sigmas and sum(z * side > sigmas for z in run) >= of

    return holds


_OF_SHARES: Final = (3, 4)
_RULES: Final[dict[int, tuple[int, Callable[[_Run], bool]]]] = {
    2: (9, _one_side),
    3: (6, _steady),
    4: (14, _by_turns),
    5: (3, _far(2, 2.0)),
    6: (5, _far(4, 1.0)),
    7: (15, lambda run: all(abs(z) < 1 for z in run)),
    8: (8, lambda run: all(abs(z) > 1 for z in run)),
}
