"""The tables of queues in SQLite, and the one connection that writes them.

A message that waits has `visible_s` 0 when it may be leased, and a time when it may be later. `ended` remembers ids,
and the token with which an Ack or a Bury ended them (0: something else did). A group has its row while it may have
messages.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from trimtab.errors import Invalid
from trimtab.queues.sql.indexes import INDEXES

VERSION: Final = 1

_TABLES: Final = """
CREATE TABLE queues (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, settings BLOB NOT NULL,
    put INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,
    returned INTEGER NOT NULL DEFAULT 0, expired INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL, id TEXT NOT NULL, grp TEXT NOT NULL, body BLOB NOT NULL,
    state INTEGER NOT NULL, visible_s REAL NOT NULL, put_s REAL NOT NULL, expires_s REAL NOT NULL,
    first_leased_s REAL NOT NULL DEFAULT 0, leases INTEGER NOT NULL DEFAULT 0, token INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '', ask TEXT NOT NULL DEFAULT '', until_s REAL NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', origin TEXT NOT NULL DEFAULT '',
    UNIQUE (queue, id)
);
CREATE TABLE ended (
    queue INTEGER NOT NULL, id TEXT NOT NULL, token INTEGER NOT NULL, at_s REAL NOT NULL, PRIMARY KEY (queue, id)
) WITHOUT ROWID;
CREATE TABLE once (
    queue INTEGER NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, at_s REAL NOT NULL, PRIMARY KEY (queue, key)
) WITHOUT ROWID;
CREATE TABLE groups (
    queue INTEGER NOT NULL, grp TEXT NOT NULL, turn INTEGER NOT NULL, PRIMARY KEY (queue, grp)
) WITHOUT ROWID;
"""


def open_file(path: Path) -> sqlite3.Connection:
    """Open or make the file, owner-readable only. Transactions are the caller's. Invalid when it is no such file."""
    path.touch(mode=0o600, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise Invalid(
                f"{path} was made by a newer trimtab (format {version}). Use that one, or another data directory."
            )
        if version == 0:
            connection.executescript(f"BEGIN; {_TABLES} {INDEXES} PRAGMA user_version = {VERSION}; COMMIT;")
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise Invalid(
            f"{path} is not a file of queues, or it is damaged ({error}). Restore it from a copy, or use another data "
            "directory (--data-dir)."
        ) from error
    except Invalid:
        connection.close()
        raise
    return connection
