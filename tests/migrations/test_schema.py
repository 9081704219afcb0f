import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from records import open_store
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from daemon.store.database import Database
from daemon.store.schema import metadata


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


# An index of an expression: the test below compares it.
@pytest.mark.filterwarnings("ignore:.*expression-based index.*tally_day")
def test_the_migrated_schema_and_the_declared_one_have_no_difference(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    store.close()


def test_conditions_and_autoincrement_are_as_declared(tmp_path: Path) -> None:
    """What Alembic's comparison does not look at."""
    migrated = open_store(tmp_path)
    migrated.close()
    declared = tmp_path / "declared.db"
    store = Database(declared)
    with store.writing() as connection:
        metadata.create_all(connection)
    store.close()
    sql = (
        "SELECT name, replace(replace(replace(sql, char(10), ''), char(9), ''), ' ', '') "
        "FROM sqlite_master WHERE sql LIKE 'CREATE%INDEX%' OR sql LIKE '%AUTOINCREMENT%' ORDER BY 1"
    )
    assert query(migrated.path, sql) == query(declared, sql)
    assert len(query(migrated.path, sql)) >= 6


def test_the_schema_can_be_made_on_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        statement = str(CreateTable(table).compile(dialect=dialect))
        assert "AUTOINCREMENT" not in statement
    image = str(CreateTable(metadata.tables["image"]).compile(dialect=dialect))
    assert "id BIGSERIAL NOT NULL" in image
    indexes = {
        index.name: str(CreateIndex(index).compile(dialect=dialect))
        for table in metadata.sorted_tables
        for index in table.indexes
    }
    assert indexes["image_delivery"].endswith(
        "WHERE progress IN ('pending', 'left', 'gone', 'unseen')"
    )
    assert indexes["image_pending"].endswith("WHERE progress = 'pending'")
    assert indexes["label_in_force"].endswith("WHERE undone_at IS NULL")


def test_views_use_nothing_that_only_sqlite_has(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    views = query(store.path, "SELECT name, lower(sql) FROM sqlite_master WHERE type = 'view'")
    assert len(views) == 9
    for name, sql in views:
        for foreign in (
            "ifnull",
            "strftime",
            "julianday",
            "group_concat",
            "iif(",
            "`",
            "[",
            "total(",
        ):
            assert foreign not in str(sql), f"{name} uses {foreign}"
