"""What lies in the review folder beyond what records say, and images found by their content."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "review_file",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("inode", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.Column("mtime_ns", sa.Text),
        sa.Column("sha256", sa.Text),
        sa.Column("image_id", sa.BigInteger),
        sa.Column("problem", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("noticed_at", sa.Text, nullable=False),
    )
    op.create_index("review_file_image", "review_file", ["image_id"])
    op.create_index("image_content", "image", ["sha256"])
