"""How long reports take over ten million images. They read kept counts; the images are there to tempt them.

The images are rows of bulk SQL without a file, as `retention` leaves them, so that ten million take
three minutes and four gigabytes: MILLWATCH_REPORT_IMAGES sets another number. Every other figure is of
a plant of four cameras that ran for a year: what a report reads is as much as it would be there.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from records import open_store, rows

from config.settings import Reports
from daemon.reports.defects import chart_report, pareto_report, rates_report
from daemon.reports.people import review_report
from daemon.reports.periods import By, Calendar
from daemon.reports.report import Question
from daemon.reports.versions import model_report
from daemon.reports.writing import as_csv, as_html
from daemon.store.database import Database

_IMAGES = int(os.environ.get("MILLWATCH_REPORT_IMAGES", "10000000"))
_LABELS = 200_000
_YEAR = 365 * 24 * 3600
_FILL_IMAGES = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :images)
INSERT INTO image (camera, filename, inode, size, mtime_ns, sha256, captured_at, recorded_at, verdict,
                   reason, predicted_class, confidence, novelty, model_version, action, progress,
                   instructive)
SELECT 'cam-' || (i / 100 % 4), i || '.jpg', i, 1000, i, hex(i), strftime('%Y-%m-%dT%H:%M:%SZ',
       1735689600 + CAST(i * (:year * 1.0 / :images) AS INTEGER), 'unixepoch'), '2026-01-01T00:00:00Z',
       CASE WHEN i % 20 = 0 THEN 'defect' WHEN i % 20 = 1 THEN 'unsure' ELSE 'pass' END,
       CASE WHEN i % 100 = 2 THEN 'sample' ELSE 'confident' END,
       CASE WHEN i % 20 > 1 THEN 'no_defect' WHEN i / 20 % 3 = 0 THEN 'patches'
            WHEN i / 20 % 3 = 1 THEN 'scratches' ELSE 'inclusion' END,
       0.9, 0.2, 'm1', 'move', CASE WHEN i % 20 < 2 OR i % 100 = 2 THEN 'moved' ELSE 'deleted' END,
       CASE WHEN i % 100 = 1 THEN 0.1 END
FROM n
"""
_FILL_TALLY = """
INSERT INTO tally
SELECT camera, substr(captured_at, 1, 13) || ':00:00Z', verdict, predicted_class, count(*)
FROM image GROUP BY 1, 2, 3, 4
"""
_FILL_LABELS = """
INSERT INTO label (image_id, label, labelled_by, labelled_at)
SELECT id, CASE WHEN id % 9 = 0 THEN 'crazing' ELSE predicted_class END,
       'person ' || (id % 5), captured_at
FROM image WHERE id % 100 IN (0, 2) LIMIT :labels
"""
_FILL_LABEL_TALLY = """
INSERT INTO label_tally
SELECT substr(labelled_at, 1, 13) || ':00:00Z', camera, labelled_by, verdict, predicted_class, label,
       count(*)
FROM label JOIN image ON image.id = image_id GROUP BY 1, 2, 3, 4, 5, 6
"""
_QUERIES = (
    "SELECT * FROM defect_rate_daily",
    "SELECT * FROM defect_rate_hourly WHERE hour >= '2025-12-01'",
    "SELECT * FROM defect_rate_hourly",
    "SELECT camera, predicted_class, sum(images) FROM defect_pareto GROUP BY 1, 2",
    "SELECT predicted_class, sum(labels) FROM labels_daily GROUP BY 1",
)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Database:
    store = open_store(tmp_path_factory.mktemp("year"))
    begun = time.perf_counter()
    values = {"images": _IMAGES, "labels": _LABELS, "year": _YEAR}
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        for statement in (_FILL_IMAGES, _FILL_TALLY, _FILL_LABELS, _FILL_LABEL_TALLY):
            connection.execute(statement, values)
    ((images,),) = rows(store, "SELECT sum(images) FROM tally")
    ((counts,),) = rows(store, "SELECT count(*) FROM tally")
    ((labels,),) = rows(store, "SELECT sum(labels) FROM label_tally")
    size = store.path.stat().st_size / 1e9
    print(
        f"\n{images:,} images in {counts:,} kept counts, {labels:,} labels; filled in "
        f"{time.perf_counter() - begun:.0f} s, {size:.1f} GB"
    )
    return store


def _tell(name: str, work: Callable[[], object], *, times: int = 3) -> None:
    """By the clock and of the processor, which differ where others use the machine."""
    clock, processor = [], []
    for _ in range(times):
        begun = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - begun[0])
        processor.append(time.process_time() - begun[1])
    print(f"  {1000 * min(clock):7.1f} ms  {1000 * min(processor):7.1f} ms  {name}")


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_reports_over_ten_million_images(year: Database) -> None:
    print("  in this process, best of 3: by the clock, of the processor")
    with year.reading() as connection:
        for query in _QUERIES:
            _tell(query, lambda query=query: connection.exec_driver_sql(query).fetchall())  # type: ignore[misc]
    calendar = Calendar(zone=ZoneInfo("Europe/Berlin"), shifts=Reports().starts)
    month = datetime(2025, 12, 1, tzinfo=UTC)

    def ask(by: By, *, days: int | None = None) -> Question:
        until = None if days is None else month + timedelta(days=days)
        since = None if days is None else month
        return Question(calendar=calendar, by=by, since=since, until=until)

    reports: dict[str, Callable[[], object]] = {
        "rates by day": lambda: rates_report(year, ask(By.DAY)),
        "rates by shift": lambda: rates_report(year, ask(By.SHIFT)),
        "rates by shift, one month": lambda: rates_report(year, ask(By.SHIFT, days=30)),
        "rates by hour, as CSV": lambda: as_csv(rates_report(year, ask(By.HOUR))),
        "pareto": lambda: pareto_report(year, ask(By.CAMERA), grouped=False),
        "pareto by day": lambda: pareto_report(year, ask(By.DAY), grouped=True),
        "chart by day": lambda: chart_report(year, ask(By.DAY)),
        "chart by hour, one month, as HTML": lambda: as_html(
            chart_report(year, ask(By.HOUR, days=30)), by=By.HOUR, made=month
        ),
        "review": lambda: review_report(year, ask(By.DAY), normal_classes=("no_defect",)),
        "model": lambda: model_report(year, ask(By.DAY)),
    }
    for name, report in reports.items():
        _tell(f"report {name}", report)
