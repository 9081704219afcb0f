"""How each camera's images look, by day and model: kept aggregates, and the views that show them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

CAMERA_DAYS = """
CREATE VIEW camera_days AS
SELECT camera, day, model_version, sum(images) AS inspected,
       sum(brightness) / sum(images) AS brightness,
       sum(sharpness) / sum(images) AS sharpness,
       sum(novelty) / sum(images) AS novelty,
       1.0 * sum(unknown) / sum(images) AS unknown_rate
FROM camera_day
WHERE images > 0
GROUP BY camera, day, model_version
"""

CAMERA_DAY_CLASSES = """
CREATE VIEW camera_day_classes AS
SELECT camera, day, model_version, predicted_class, images
FROM camera_day
WHERE images > 0
"""


def upgrade() -> None:
    op.add_column("image", sa.Column("brightness", sa.Float))
    op.add_column("image", sa.Column("sharpness", sa.Float))
    op.create_table(
        "camera_day",
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("camera", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("predicted_class", sa.Text, nullable=False),
        sa.Column("side", sa.Integer, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("unknown", sa.BigInteger, nullable=False),
        sa.Column("brightness", sa.Float, nullable=False),
        sa.Column("sharpness", sa.Float, nullable=False),
        sa.Column("novelty", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("day", "camera", "model_version", "predicted_class"),
    )
    op.create_table(
        "drift_reference",
        sa.Column("camera", sa.Text, primary_key=True),
        sa.Column("since", sa.Text, nullable=False),
    )
    op.execute(CAMERA_DAYS)
    op.execute(CAMERA_DAY_CLASSES)
