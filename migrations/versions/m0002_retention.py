"""Indexes for what is deleted in time, and for files that may come back."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    kept = sa.text("progress IN ('moved', 'unseen') AND verdict IN ('pass', 'unreadable')")
    op.create_index(
        "image_kept", "image", ["verdict", "id"], sqlite_where=kept, postgresql_where=kept
    )
    ended = sa.text("progress IN ('left', 'deleted', 'gone')")
    op.create_index("image_ended", "image", ["id"], sqlite_where=ended, postgresql_where=ended)
    op.create_index("label_image", "label", ["image_id"])
    op.drop_index("image_delivery", "image")
    still_there = sa.text("progress IN ('pending', 'left', 'gone', 'unseen')")
    op.create_index(
        "image_delivery",
        "image",
        ["camera", "filename", "inode", "size", "mtime_ns"],
        unique=True,
        sqlite_where=still_there,
        postgresql_where=still_there,
    )
