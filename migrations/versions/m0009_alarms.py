"""Messages of alarms on their way, and what each alarm last told."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "alarm_told",
        sa.Column("alarm", sa.Text, primary_key=True),
        sa.Column("holds", sa.Text, nullable=False),
        sa.Column("told_at", sa.Text, nullable=False),
    )
    op.create_table(
        "alarm_message",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("alarm", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Text),
        sa.Column("error", sa.Text),
        sqlite_autoincrement=True,
    )
    undelivered = sa.text("state = 'waiting'")
    op.create_index(
        "alarm_message_undelivered",
        "alarm_message",
        ["address", "id"],
        sqlite_where=undelivered,
        postgresql_where=undelivered,
    )
