"""What one camera delivered last, and which cameras there are, are found without reading all others."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    every = sa.text("id > 0")
    op.create_index(
        "image_camera", "image", ["camera", "id"], sqlite_where=every, postgresql_where=every
    )
    named = sa.text("camera <> ''")
    op.create_index("tally_camera", "tally", ["camera"], sqlite_where=named, postgresql_where=named)
