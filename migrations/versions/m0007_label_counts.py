"""Labels are counted as they are given, so that a report of them reads no images."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

LABELS_DAILY = """
CREATE VIEW labels_daily AS
SELECT substr(hour, 1, 10) AS day, camera, labelled_by, verdict,
       nullif(predicted_class, '') AS predicted_class, label, sum(labels) AS labels
FROM label_tally
WHERE labels > 0
GROUP BY substr(hour, 1, 10), camera, labelled_by, verdict, predicted_class, label
"""


def upgrade() -> None:
    op.create_table(
        "label_tally",
        sa.Column("hour", sa.Text, nullable=False),
        sa.Column("camera", sa.Text, nullable=False),
        sa.Column("labelled_by", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("predicted_class", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("labels", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "hour", "camera", "labelled_by", "verdict", "predicted_class", "label"
        ),
    )
    op.execute(
        """
        INSERT INTO label_tally
        SELECT substr(label.labelled_at, 1, 13) || ':00:00Z', image.camera, label.labelled_by,
               image.verdict, coalesce(image.predicted_class, ''), label.label, count(*)
        FROM label JOIN image ON image.id = label.image_id
        WHERE label.undone_at IS NULL
        GROUP BY 1, 2, 3, 4, 5, 6
        """
    )
    op.execute(LABELS_DAILY)
    sampled = sa.text("reason = 'sample'")
    op.create_index(
        "image_sampled",
        "image",
        ["captured_at", "camera", "instructive"],
        sqlite_where=sampled,
        postgresql_where=sampled,
    )
