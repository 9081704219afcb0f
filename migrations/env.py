"""Run by Alembic, on the connection and in the transaction that `daemon.store.upgrading` hands over."""

from alembic import context

from daemon.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can roll back DDL; Alembic assumes not. The whole upgrade is one transaction.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
