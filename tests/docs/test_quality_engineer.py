"""The statements of the quality engineers' page, run as they stand; and what it says of charts."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from records import NOW, finding, nanoseconds, open_store, record, settle
from sqlalchemy import insert

from daemon.reports.rules import WORDS
from daemon.store.labels import put_label
from daemon.store.schema import model

PAGE = (Path(__file__).parents[2] / "docs" / "quality-engineer.md").read_text()
STATEMENTS = dict(re.findall(r"\n([A-Z][^\n]+)\n\n```sql\n(.*?)```", PAGE, flags=re.DOTALL))
KEPT = ("defect_rate", "defect_pareto", "labels_daily")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A line's March: every verdict, labels for and against the machine, a sample, a model."""
    store = open_store(tmp_path_factory.mktemp("march"))
    at = nanoseconds("2026-03-01T10:00:00")
    findings = [
        finding(number, "pass", mtime_ns=at, predicted_class="no_defect")
        for number in range(1, 120)
    ]
    findings[20] = replace(findings[20], reason="sample")
    findings += [finding(number, "defect", mtime_ns=at) for number in range(120, 124)]
    findings += [finding(124, "unsure", predicted_class="patches", mtime_ns=at)]
    findings += [finding(125, "unreadable", mtime_ns=at)]
    intents = record(store, *findings)
    settle(store, *intents)
    for intent, name in (
        (intents[119], "scratches"),
        (intents[120], "patches"),
        (intents[20], "no_defect"),
    ):
        put_label(
            store,
            intent.image_id,
            name,
            "anna",
            seen=0,
            target=Path(f"/labelled/{intent.image_id}.jpg"),
            now=NOW,
        )
    with store.writing() as connection:
        connection.execute(
            insert(model).values(
                version="m1",
                status="current",
                created_at="2026-03-01T00:00:00Z",
                trained_on="0" * 64,
                metrics="{}",
                reason="no worse",
            )
        )
    with closing(sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)) as connection:
        yield connection
    store.close()


def test_every_statement_has_its_question() -> None:
    assert len(STATEMENTS) == PAGE.count("```sql") >= 12


@pytest.mark.parametrize("question", STATEMENTS)
def test_a_documented_statement_answers(line: sqlite3.Connection, question: str) -> None:
    assert line.execute(STATEMENTS[question]).fetchall(), question


@pytest.mark.parametrize(
    "question", [each for each, sql in STATEMENTS.items() if any(view in sql for view in KEPT)]
)
def test_what_is_said_to_answer_at_once_reads_no_image(
    line: sqlite3.Connection, question: str
) -> None:
    steps = line.execute(f"EXPLAIN QUERY PLAN {STATEMENTS[question]}").fetchall()
    assert "tally" in str(steps)
    assert not re.search(r"(SCAN|SEARCH) (image|label)\b", str(steps)), steps


def test_the_rules_are_described_as_reports_name_them() -> None:
    told = {
        int(number): words
        for number, words in re.findall(r"^\| (\d) \| (.+?) \|$", PAGE, re.MULTILINE)
    }
    assert told == WORDS
