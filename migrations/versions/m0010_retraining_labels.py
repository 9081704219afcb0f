"""Which labels a retraining had, whatever the clock says."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("retraining_run", sa.Column("labels_until", sa.BigInteger))
