"""Retraining runs, and until when the schedule was kept."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "retraining_run",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("name", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Text),
        sa.Column("handled_until", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("figures", sa.Text),
        sqlite_autoincrement=True,
    )
