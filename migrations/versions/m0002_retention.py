"""Indexes for what is deleted in time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    kept = sa.text("progress = 'moved' AND verdict IN ('pass', 'unreadable')")
    op.create_index(
        "image_kept", "image", ["verdict", "id"], sqlite_where=kept, postgresql_where=kept
    )
    ended = sa.text("progress IN ('left', 'deleted', 'gone')")
    op.create_index("image_ended", "image", ["id"], sqlite_where=ended, postgresql_where=ended)
    op.create_index("label_image", "label", ["image_id"])
