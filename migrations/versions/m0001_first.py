"""The first tables, and the views that reports rest on."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

INSPECTIONS = """
CREATE VIEW inspections AS
SELECT id, camera, filename, sha256, captured_at, recorded_at, verdict, predicted_class,
       confidence, novelty, model_version, path, reason, notes
FROM image
"""

_RATES = """
       sum(CASE WHEN verdict <> 'unreadable' THEN images ELSE 0 END) AS inspected,
       sum(CASE WHEN verdict = 'defect' THEN images ELSE 0 END) AS defects,
       sum(CASE WHEN verdict = 'unsure' THEN images ELSE 0 END) AS unsure,
       sum(CASE WHEN verdict = 'unreadable' THEN images ELSE 0 END) AS unreadable,
       1.0 * sum(CASE WHEN verdict = 'defect' THEN images ELSE 0 END)
           / nullif(sum(CASE WHEN verdict <> 'unreadable' THEN images ELSE 0 END), 0)
           AS defect_rate
FROM tally
WHERE images > 0
"""

DEFECT_RATE_HOURLY = f"""
CREATE VIEW defect_rate_hourly AS
SELECT camera, hour, {_RATES}
GROUP BY camera, hour
"""

DEFECT_RATE_DAILY = f"""
CREATE VIEW defect_rate_daily AS
SELECT camera, substr(hour, 1, 10) AS day, {_RATES}
GROUP BY camera, substr(hour, 1, 10)
"""

DEFECT_PARETO = """
CREATE VIEW defect_pareto AS
SELECT camera, substr(hour, 1, 10) AS day, predicted_class, sum(images) AS images
FROM tally
WHERE verdict = 'defect' AND images > 0
GROUP BY camera, substr(hour, 1, 10), predicted_class
"""

LABELS = """
CREATE VIEW labels AS
SELECT label.image_id, label.label, label.labelled_by, label.labelled_at,
       image.predicted_class, image.confidence,
       CASE WHEN image.predicted_class IS NULL THEN NULL
            WHEN label.label = image.predicted_class THEN 1 ELSE 0 END AS agreed
FROM label JOIN image ON image.id = label.image_id
WHERE label.undone_at IS NULL
"""

MODEL_VERSIONS = """
CREATE VIEW model_versions AS
SELECT version, status, created_at, promoted_at, trained_on, metrics, reason
FROM model
"""

VIEWS = (
    INSPECTIONS,
    DEFECT_RATE_HOURLY,
    DEFECT_RATE_DAILY,
    DEFECT_PARETO,
    LABELS,
    MODEL_VERSIONS,
)


def upgrade() -> None:
    _create_image()
    op.create_table(
        "tally",
        sa.Column("camera", sa.Text, nullable=False),
        sa.Column("hour", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("predicted_class", sa.Text, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hour", "camera", "verdict", "predicted_class"),
    )
    op.create_table(
        "label",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("image_id", sa.BigInteger, sa.ForeignKey("image.id"), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("labelled_by", sa.Text, nullable=False),
        sa.Column("labelled_at", sa.Text, nullable=False),
        sa.Column("undone_at", sa.Text),
        sqlite_autoincrement=True,
    )
    in_force = sa.text("undone_at IS NULL")
    op.create_index(
        "label_in_force",
        "label",
        ["image_id"],
        unique=True,
        sqlite_where=in_force,
        postgresql_where=in_force,
    )
    op.create_table(
        "model",
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("promoted_at", sa.Text),
        sa.Column("trained_on", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
    )
    for view in VIEWS:
        op.execute(view)


def _create_image() -> None:
    op.create_table(
        "image",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("camera", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("inode", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("captured_at", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("predicted_class", sa.Text),
        sa.Column("confidence", sa.Float),
        sa.Column("novelty", sa.Float),
        sa.Column("model_version", sa.Text),
        sa.Column("notes", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("progress", sa.Text, nullable=False),
        sa.Column("target", sa.Text),
        sa.Column("path", sa.Text),
        sqlite_autoincrement=True,
    )
    still_there = sa.text("progress IN ('pending', 'left', 'gone')")
    op.create_index(
        "image_delivery",
        "image",
        ["camera", "filename", "inode", "size", "mtime_ns"],
        unique=True,
        sqlite_where=still_there,
        postgresql_where=still_there,
    )
    op.create_index("image_target", "image", ["target"], unique=True)
    pending = sa.text("progress = 'pending'")
    op.create_index(
        "image_pending", "image", ["id"], sqlite_where=pending, postgresql_where=pending
    )
    op.create_index("image_captured_at", "image", ["captured_at"])
