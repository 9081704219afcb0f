"""How long the server takes for the review page with a hundred thousand images in the queue."""

import time
from pathlib import Path

import pytest
from pages import open_page, token_of

_IMAGES = 100_000
_MADE_UP = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :images)
INSERT INTO image (camera, filename, inode, size, mtime_ns, sha256, captured_at, recorded_at,
                   verdict, reason, predicted_class, confidence, novelty, model_version, action,
                   progress, target, path, instructive)
SELECT 'top-1', i || '.jpg', i, 1000, i, printf('%064d', i),
       strftime('%Y-%m-%dT%H:%M:%SZ', 1772445600 + i, 'unixepoch'), '2026-03-03T00:00:00Z',
       'unsure', CASE i % 10 WHEN 0 THEN 'unknown' ELSE 'low_confidence' END,
       CASE i % 3 WHEN 0 THEN 'patches' WHEN 1 THEN 'scratches' ELSE 'crazing' END,
       (i % 997) / 1000.0, 0.2, 'm1', 'move', 'moved', '/review/' || i, '/review/' || i,
       CASE i % 10 WHEN 0 THEN 2 ELSE 1 END - (i % 997) / 1000.0
FROM n
"""
_PAGES = (
    "/queue",
    "/api/queue",
    "/api/queue?limit=200",
    "/api/queue?class=patches",
    "/api/queue?camera=side",
    "/api/queue?day=2026-03-02",
    "/api/queue?reason=unknown",
    "/api/queue?after=1.2_50000",
    "/line",
)


@pytest.mark.benchmark
def test_the_review_page_with_a_hundred_thousand_images(tmp_path: Path, model: Path) -> None:
    with open_page(tmp_path, model) as page:
        browser = page.logged_in("anna")
        assert token_of(browser)
        with page.database.writing() as connection:
            connection.exec_driver_sql(_MADE_UP.replace(":images", str(_IMAGES)))
        print(
            f"\nserver time with {_IMAGES} images in the queue, best of 5, in one process: by the "
            "clock, of the processor"
        )
        for address in _PAGES:
            clock, processor = [], []
            for _ in range(5):
                begun = time.perf_counter(), time.process_time()
                assert browser.get(address).status_code == 200
                clock.append(time.perf_counter() - begun[0])
                processor.append(time.process_time() - begun[1])
            print(f"  {1000 * min(clock):6.1f} ms  {1000 * min(processor):6.1f} ms  {address}")
