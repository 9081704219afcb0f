"""The tables of faults and attacks and the tests that they name hold each other to their word."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
SECURITY = TESTS.parent / "docs" / "security.md"
NOT_BUILT = "not built yet"


@dataclass(frozen=True, kw_only=True)
class Row:
    number: int
    words: str
    tests: frozenset[str]


def rows_of(page: str) -> list[Row]:
    rows = []
    for number, fault, what, tests in re.findall(
        r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) ?\|$", page, flags=re.MULTILINE
    ):
        named = frozenset(re.findall(r"`([^`]+)`", tests))
        rows.append(Row(number=int(number), words=f"{fault} {what}", tests=named))
    return rows


def marks_of(source: str) -> dict[str, set[int]]:
    """Every test of a file, with the numbers in its marks and in those of its parameters."""
    return {
        node.name: {number for each in node.decorator_list for number in _numbers(each)}
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def _numbers(decorator: ast.expr) -> Iterator[int]:
    for node in ast.walk(decorator):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield from map(ast.literal_eval, node.args)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(PAGE.read_text())


@pytest.fixture(scope="module")
def marks() -> dict[str, set[int]]:
    """By `file::test name`, the file's path below `tests/`."""
    return {
        f"{path.relative_to(TESTS)}::{name}": numbers
        for path in sorted(TESTS.rglob("test_*.py"))
        for name, numbers in marks_of(path.read_text()).items()
    }


def test_the_rows_are_numbered_without_a_gap(rows: list[Row]) -> None:
    assert len(rows) >= 47
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    lines = PAGE.read_text().splitlines()
    assert len(rows) == sum(line.startswith("|") for line in lines) - 2 * lines.count(
        "|---|---|---|---|"
    )


def test_every_test_that_a_row_names_exists(rows: list[Row], marks: dict[str, set[int]]) -> None:
    assert [(row.number, test) for row in rows for test in row.tests if test not in marks] == []


def test_every_row_has_a_test_or_says_that_it_is_not_built(rows: list[Row]) -> None:
    assert [row.number for row in rows if not row.tests and NOT_BUILT not in row.words] == []


def test_every_mark_has_a_row_that_names_its_test_and_the_other_way_round(
    rows: list[Row], marks: dict[str, set[int]]
) -> None:
    told = {(row.number, test) for row in rows for test in row.tests}
    marked = {(number, test) for test, numbers in marks.items() for number in numbers}
    assert marked
    assert sorted(marked ^ told) == []


def test_every_attack_on_the_security_page_names_tests_that_exist(
    marks: dict[str, set[int]],
) -> None:
    attacks = re.findall(r"^\| (.+?) \| .+ \|(.*)\|$", SECURITY.read_text(), re.MULTILINE)
    named = {tried: re.findall(r"`(test_\w+)`", tests) for tried, tests in attacks[1:]}
    assert len(named) == SECURITY.read_text().count("\n| ") - 1 >= 19
    assert [tried for tried, tests in named.items() if not tests] == []
    there_are = {name.partition("::")[2] for name in marks}
    assert [test for tests in named.values() for test in tests if test not in there_are] == []


def test_a_mark_is_found_wherever_pytest_finds_it() -> None:
    source = """
@pytest.mark.fault(1, 2)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("x", [pytest.param(0, marks=pytest.mark.fault(3))])
def test_one(x): ...
def test_two(): ...
def helper(): ...
"""
    assert marks_of(source) == {"test_one": {1, 2, 3}, "test_two": set()}
