"""The audit between database and folders: reads everything, changes nothing, in bounded memory."""

from collections.abc import Iterator

from config.settings import Settings
from daemon.integrity.differences import Counts, Difference, Roots
from daemon.integrity.files import FileAudit
from daemon.integrity.records import against_files
from daemon.store.database import Database
from daemon.store.places import notebook
from daemon.store.restoring import replaced_databases


def audit(
    settings: Settings, database: Database, counts: Counts, *, hashes: bool
) -> Iterator[Difference]:
    """Every disagreement, as it is found: first of the records, then of the files.

    Args:
        counts: kept while it goes on.
        hashes: read every file; else its size must do.

    Raises:
        StoreError, OSError: it is not complete.
    """
    roots = Roots(settings)
    with notebook() as notes, replaced_databases(settings.database_file) as replaced:
        files = FileAudit(
            settings,
            database=database,
            replaced=replaced,
            roots=roots,
            notebook=notes,
            counts=counts,
        )
        of_records = against_files(database, roots, notes, counts, hashes=hashes)
        for differences in (of_records, files.differences()):
            for difference in differences:
                counts.differences[difference.kind] += 1
                yield difference
