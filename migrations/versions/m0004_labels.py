"""Which images wait to be looked at, most instructive first, and labels whose file is on its way."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("image", sa.Column("instructive", sa.Float))
    op.execute(
        """
        UPDATE image
        SET instructive = (CASE WHEN reason = 'unknown' THEN 2.0 ELSE 1.0 END) - confidence
        WHERE verdict IN ('defect', 'unsure') AND NOT EXISTS (
            SELECT 1 FROM label WHERE label.image_id = image.id AND label.undone_at IS NULL
        )
        """
    )
    waiting = sa.text("instructive IS NOT NULL")
    op.create_index(
        "image_waiting",
        "image",
        ["instructive", "id"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.add_column("label", sa.Column("moving_to", sa.Text))
    on_its_way = sa.text("moving_to IS NOT NULL")
    op.create_index(
        "label_on_its_way",
        "label",
        ["id"],
        sqlite_where=on_its_way,
        postgresql_where=on_its_way,
    )
