"""Rates and defects of a day are found and added up by the day, without reading or sorting all others."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

DEFECT_RATE_DAILY = """
CREATE VIEW defect_rate_daily AS
SELECT camera, substr(hour, 1, 10) AS day,
       sum(CASE WHEN verdict <> 'unreadable' THEN images ELSE 0 END) AS inspected,
       sum(CASE WHEN verdict = 'defect' THEN images ELSE 0 END) AS defects,
       sum(CASE WHEN verdict = 'unsure' THEN images ELSE 0 END) AS unsure,
       sum(CASE WHEN verdict = 'unreadable' THEN images ELSE 0 END) AS unreadable,
       1.0 * sum(CASE WHEN verdict = 'defect' THEN images ELSE 0 END)
           / nullif(sum(CASE WHEN verdict <> 'unreadable' THEN images ELSE 0 END), 0)
           AS defect_rate
FROM tally
WHERE images > 0
GROUP BY substr(hour, 1, 10), camera
"""

DEFECT_PARETO = """
CREATE VIEW defect_pareto AS
SELECT camera, substr(hour, 1, 10) AS day, predicted_class, sum(images) AS images
FROM tally
WHERE verdict = 'defect' AND images > 0
GROUP BY substr(hour, 1, 10), camera, predicted_class
"""


def upgrade() -> None:
    op.create_index("tally_day", "tally", [sa.text("substr(hour, 1, 10)"), "camera"])
    # SQLite reads by an index in its order only where a view groups in that order.
    op.execute("DROP VIEW defect_rate_daily")
    op.execute("DROP VIEW defect_pareto")
    op.execute(DEFECT_RATE_DAILY)
    op.execute(DEFECT_PARETO)
