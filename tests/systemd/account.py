"""Whether every dropped image has one row and lies where it says: `python3 account.py HOW_MANY`."""

import hashlib
import sqlite3
import sys
from pathlib import Path

DATABASE = "/var/lib/millwatch/millwatch.db"


def main(dropped: int) -> str:
    """What is missing yet; nothing when all is accounted for."""
    connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)
    rows = connection.execute("SELECT filename, sha256, path FROM inspections").fetchall()
    if len(rows) != dropped:
        return f"{len(rows)} rows for {dropped} images"
    if len({filename for filename, _, _ in rows}) != dropped:
        return "an image has two rows"
    for filename, sha256, path in rows:
        if "/cameras/" in path:
            return f"{filename} is not moved yet"
        if hashlib.sha256(Path(path).read_bytes()).hexdigest() != sha256:
            return f"{path} is another file"
    return ""


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1])) or None)
    except (OSError, sqlite3.Error) as error:
        sys.exit(str(error))
